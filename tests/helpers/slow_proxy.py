"""A TCP proxy of this process, which is slow, stands still or cuts, as the test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class SlowProxy:
    """See `slow_proxy`.

    Attributes:
        delay_s: so much later each piece arrives, both ways.
        is_cut: whether what is connected is cut off, and nobody else is let in.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_s = 0.0
        self.is_cut = False
        self.port = 0
        self._target_port = target_port
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Cut all connections, and let nobody in until `mend`."""
        self.is_cut = True
        for writer in list(self._writers):
            writer.transport.abort()

    def hold(self) -> None:
        """Carry nothing until `mend`, but keep all connections."""
        self._flows.clear()

    def mend(self) -> None:
        """Be a good proxy again."""
        self.is_cut = False
        self._flows.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flows.wait()
            if self.is_cut:
                return
            theirs, their_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            self._writers |= {writer, their_writer}
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._carry(reader, their_writer))
                    group.create_task(self._carry(theirs, writer))
            finally:
                self._writers -= {writer, their_writer}
                their_writer.close()
        except* OSError:
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def close(self) -> None:
        """Cut all."""
        self.cut()
        self._flows.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        clock = asyncio.get_running_loop().time

        async def read() -> None:
            while True:
                piece = await reader.read(1 << 16)
                pieces.put_nowait((clock() + self.delay_s, piece))
                if not piece:
                    return

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            while True:
                at, piece = await pieces.get()
                await asyncio.sleep(at - clock())
                await self._flows.wait()
                if not piece:
                    break
                writer.write(piece)
                await writer.drain()
            writer.close()


@contextlib.asynccontextmanager
async def slow_proxy(target_port: int) -> AsyncIterator[SlowProxy]:
    """A proxy on a port of this machine in front of another one."""
    proxy = SlowProxy(target_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
