"""How commands on the same machine ask a running node for something: by a socket in its data_dir.

Who may open it may read the data directory: files have the modes that say who. So it needs no
credential, and nothing of it can be reached by the network. A request and its answer are a line of
JSON each:

    {"do": "adopt", "with": "/mnt/disk/cloudslice"}
    {"text": "..."} or {"error": "..."}
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from cloudslice.faults import Faults

ADOPT = "adopt"
"""Asks for the adoption of a spool, with its directory."""
_NAME = "control"
_LINE_LIMIT = 64 * 1024

Handler = Callable[[str], Awaitable[str]]
"""Does what is asked for; the text says what was done. Raises ControlError."""


class ControlError(Exception):
    """A node cannot do what it was asked for, or there is none; the text says why."""


class ControlSocket:
    """Takes requests while it is entered; an async context manager.

    Attributes:
        faults: errors that nobody foresaw.
    """

    def __init__(self, data_dir: Path, handlers: Mapping[str, Handler]) -> None:
        """Takes the node's directory, which no other process uses, and what can be asked for."""
        self.faults = Faults("control socket")
        self._data_dir = data_dir
        self._handlers = handlers
        self._server: asyncio.Server | None = None
        self._requests: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen; raises OSError."""
        path = self._data_dir / _NAME
        path.unlink(missing_ok=True)  # of a process that was killed
        listener = socket.socket(socket.AF_UNIX)
        os.fchmod(listener.fileno(), 0o600)
        with _address(self._data_dir) as address:
            listener.bind(address)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listener, limit=_LINE_LIMIT
        )
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Take no more requests; those under way are cut off."""
        if self._server is not None:
            self._server.close()
        for request in self._requests:
            request.cancel()
        if self._requests:
            await asyncio.wait(self._requests)
        (self._data_dir / _NAME).unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = asyncio.current_task()
        assert request is not None  # noqa: S101 - this is one
        self._requests.add(request)
        try:
            with contextlib.closing(writer), contextlib.suppress(OSError, ValueError):
                answer = await self._answer(await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        finally:
            self._requests.discard(request)

    async def _answer(self, line: bytes) -> dict[str, str]:
        try:
            request = json.loads(line)
            handler = self._handlers[request["do"]]
            return {"text": await handler(str(request["with"]))}
        except ControlError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError):
            return {"error": "this node does not know such a request: is it of another version?"}
        except Exception as error:
            self.faults.caught(error)
            return {"error": "a fault of the server; its log has the traceback"}


def ask(data_dir: Path, do: str, argument: str) -> str:
    """Have the node of a data directory do something; blocks until it is done.

    Raises:
        ControlError: it cannot, or no node uses the directory.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection, _address(data_dir) as address:
            connection.connect(address)
            connection.sendall(json.dumps({"do": do, "with": argument}).encode() + b"\n")
            with connection.makefile("rb") as reader:
                line = reader.readline()
    except OSError as error:
        raise ControlError(
            f"no node is running with data_dir = {data_dir} that this user may ask: "
            f"{error.strerror}"
        ) from error
    if not line:
        raise ControlError("the node has ended meanwhile: start it, and ask again")
    answer = json.loads(line)
    if "error" in answer:
        raise ControlError(answer["error"])
    return str(answer["text"])


@contextlib.contextmanager
def _address(data_dir: Path) -> Iterator[str]:
    """The socket's address: a socket's own path may have no more than 107 bytes."""
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{_NAME}"
    finally:
        os.close(directory)
