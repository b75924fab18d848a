"""Buckets to measure with: how the server reaches them, and what has reached them."""

import asyncio
import hashlib
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from harness.slices import Arrival
from helpers.s3_server import S3Server

KINDS = ("sink", "file", "seaweedfs")

_ROOM = {"Vendor": 1, "Region": "us-east-1", "AccessKey": "AKIDBENCH", "SecretKey": "BenchSecret"}
_LARGEST_READ = 1 << 22


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket for the slices of all tasks.

    Attributes:
        endpoint: the server's setting for the vendor S3.
        parameters: the API's CloudSliceStorage.
        arrivals: what has come so far, told the webhook events that have come so far.
    """

    endpoint: str
    parameters: Mapping[str, Any]
    arrivals: Callable[[Iterable[Mapping[str, Any]]], list[Arrival]]


@asynccontextmanager
async def open_bucket(kind: str, directory: Path) -> AsyncIterator[Bucket]:
    """A bucket of one of KINDS.

    The sink speaks S3, notes what comes, and drops it. It stands for a store somewhere else, whose
    work is not on the server's machine: a real S3 server beside the measured one would take more
    of two cores than that.
    """
    if kind == "sink":
        sink = _Sink()
        server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=_LARGEST_READ)
        async with server:
            port = server.sockets[0].getsockname()[1]
            parameters = _ROOM | {"Bucket": "sink"}
            url = f"http://127.0.0.1:{port}"
            yield Bucket(url, parameters, lambda _events: list(sink.arrivals))
            sink.close()
    elif kind == "file":
        parameters = _ROOM | {"Bucket": "bench"}
        yield Bucket(f"file://{directory}/bucket", parameters, _announced)
    else:
        weed = S3Server(directory / "seaweedfs")
        await asyncio.to_thread(weed.start)
        keys = {"AccessKey": weed.access_key, "SecretKey": weed.secret_key}
        parameters = _ROOM | keys | {"Bucket": await asyncio.to_thread(weed.new_bucket)}
        try:
            yield Bucket(weed.url, parameters, _announced)
        finally:
            weed.stop()


class _Sink:
    """Notes objects by the headers of their PUT requests."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._writers: set[StreamWriter] = set()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                request, *lines = head.split("\r\n")
                pairs = (line.partition(": ") for line in lines)
                headers = {name.lower(): value for name, _, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                self._note(unquote(request.split(" ")[1]), headers)
                etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
                answer = f'HTTP/1.1 200 OK\r\nETag: "{etag}"\r\nContent-Length: 0\r\n\r\n'
                writer.write(answer.encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self._writers.discard(writer)

    def close(self) -> None:
        for writer in list(self._writers):
            writer.close()

    def _note(self, path: str, headers: Mapping[str, str]) -> None:
        *_, user_id, folder, _name = path.split("/")
        is_picture = folder == "images"
        end_ms = int(headers["x-amz-meta-start-ms"]) + int(headers["x-amz-meta-duration-ms"])
        self.arrivals.append(
            Arrival(
                user_id,
                is_picture,
                int(headers["x-amz-meta-due-ms"]) if is_picture else end_ms,
                round(time.time() * 1000),
                int(headers["content-length"]),
            )
        )


def _announced(events: Iterable[Mapping[str, Any]]) -> list[Arrival]:
    """What events 1004 tell. When a picture was due they do not: its key frame's arrival is taken
    for it."""
    infos = [each["EventInfo"] for each in events if each["EventType"] == 1004]
    return [
        Arrival(
            info["StreamUserId"],
            info["Payload"]["MediaType"] == 2,
            info["Payload"]["EndTimeStamp"],
            info["EventMsTs"],
            0,
        )
        for info in infos
    ]
