"""Anchors in processes of their own, so that what sending costs is not the server's."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.load import Orders, Sent

_LIVE_TIMEOUT_S = 120
_LINE = 1 << 24


class Anchors:
    """Publishes from entering to leaving; an async context manager.

    Args:
        media_path: a pickled `Media`.
        anchors: WHIP URL and token of each.
        join_s: they join evenly over so many seconds, so that their pictures are not due at once.
        loop_s: length of the media's loop, in which they begin at different places.
        processes: how many share the work.
    """

    def __init__(
        self,
        media_path: Path,
        anchors: Sequence[tuple[str, str]],
        *,
        join_s: float,
        loop_s: float,
        processes: int,
    ) -> None:
        golden = 0.6180339887  # spreads any number of starts evenly over the loop
        planned = [
            (*each, index * join_s / len(anchors), index * golden % 1 * loop_s)
            for index, each in enumerate(anchors)
        ]
        self._orders = [Orders(str(media_path), planned[i::processes]) for i in range(processes)]
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        for orders in self._orders:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "harness.load", stdin=PIPE, stdout=PIPE, limit=_LINE,
                cwd=Path(__file__).parents[1],
            )  # fmt: skip
            self._processes.append(process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @property
    def pids(self) -> list[int]:
        return [each.pid for each in self._processes]

    async def wait_live(self) -> None:
        """Wait until all media flows; raises TimeoutError if it does not come to that."""
        async with asyncio.timeout(_LIVE_TIMEOUT_S):
            for process in self._processes:
                await _line(process)

    async def count(self) -> Sent:
        """What they have sent so far."""
        total = Sent()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(b"\n")
        for process in self._processes:
            sent = json.loads(await _line(process))
            for each in fields(Sent):
                setattr(total, each.name, getattr(total, each.name) + sent[each.name])
        return total

    async def stop(self) -> None:
        """Let all leave."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            await process.wait()


async def _line(process: Process) -> bytes:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("a load process has ended: see its error output above")
    return line
