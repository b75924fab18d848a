"""What deliveries are measured against: none at all, and the bare work of one."""

import asyncio
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp
import obstore
from obstore.store import S3Store

from cloudslice.slices import Details, SliceOrigin
from cloudslice.slicing.slice_store import GrowingSlice
from cloudslice.webhooks.client import sign
from helpers.delivery import CALLBACK_KEY

WEBHOOK = b'{"EventType":1004,"EventInfo":"%s"}' % bytes(600).hex().encode()


class Nowhere:
    """A SliceStore that drops everything; also its `GrowingSlice`."""

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        return self

    def put(self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Details) -> None:
        pass

    def append(self, data: bytes) -> None:
        pass

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Details, *, head: bytes = b""
    ) -> None:
        pass

    def abandon(self, reason: str) -> None:
        pass


class Bare:
    """A SliceStore that does the least that brings a slice to disk, bucket and receiver."""

    def __init__(
        self, directory: Path, endpoint: str, session: aiohttp.ClientSession, url: str
    ) -> None:
        self._directory = directory
        self._directory_descriptor = os.open(directory, os.O_RDONLY)
        self._bucket = S3Store(
            "sink", endpoint=endpoint, region="r", access_key_id="AK", secret_access_key="SK",  # noqa: S106
            virtual_hosted_style_request=False, client_options={"allow_http": True},
        )  # fmt: skip
        self._session, self._url = session, url
        self._numbers = itertools.count()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bare")
        self._tasks: set[asyncio.Task[None]] = set()

    def grow(self, origin: SliceOrigin, start_utc_ms: int) -> GrowingSlice:
        return BareGrowth(self, self._directory / f"{next(self._numbers)}.part")

    def put(self, origin: SliceOrigin, start_utc_ms: int, data: bytes, details: Details) -> None:
        growing = self.grow(origin, start_utc_ms)
        growing.append(data)
        growing.finish(start_utc_ms, 0, details)

    def take(self, descriptor: int, path: Path, data: bytes) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(descriptor, path, data))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, descriptor: int, path: Path, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._keep, descriptor, path)
        attributes = {"Content-Type": "audio/ogg", "start-ms": "0", "duration-ms": "0"}
        await obstore.put_async(
            self._bucket, f"bare/audios/{path.stem}", data, attributes=attributes,
            use_multipart=False,
        )  # fmt: skip
        headers = {"Content-Type": "application/json", "SdkAppId": "1"}
        headers["Sign"] = sign(WEBHOOK, CALLBACK_KEY)
        async with self._session.post(self._url, data=WEBHOOK, headers=headers) as response:
            await response.read()
        path.with_suffix(".slice").unlink()

    def _keep(self, descriptor: int, path: Path) -> None:
        os.fsync(descriptor)
        os.close(descriptor)
        path.rename(path.with_suffix(".slice"))
        os.fsync(self._directory_descriptor)


class BareGrowth:
    """Its `GrowingSlice`."""

    def __init__(self, bare: Bare, path: Path) -> None:
        self._bare = bare
        self._path = path
        self._descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
        self._data = bytearray()

    def append(self, data: bytes) -> None:
        os.write(self._descriptor, data)
        self._data += data

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Details, *, head: bytes = b""
    ) -> None:
        os.pwrite(self._descriptor, head, 0)
        self._bare.take(self._descriptor, self._path, bytes(self._data))

    def abandon(self, reason: str) -> None:
        raise AssertionError("nothing breaks here")
