"""The threads that turn key frames into pictures, for all robots of a process."""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from cloudslice.rooms.base import Keyframe
from cloudslice.slicing.colors import ColorConverter
from cloudslice.slicing.images import Picture, UndecodableKeyframeError, encode_picture
from cloudslice.slicing.params import ImageFormat

_log = structlog.get_logger(__name__)

PictureReceiver = Callable[[Picture | UndecodableKeyframeError], None]
"""Called once, on the event loop, with the picture or the reason why there is none."""

_WAITING_PER_THREAD = 64
"""Some half a second of work with JPEG, a whole one with PNG. If twice as many may wait, then under
lasting load they are later, and no more. 64 key frames of 720p are some 6 MB."""
_NICENESS = 10
"""More than the rest of the process: against it a picture's thread has a tenth of a core."""


@dataclass(slots=True)
class _Job:
    keyframe: Keyframe
    """Held so that its identity stays its own."""
    receivers: list[PictureReceiver]
    future: asyncio.Future[Picture] | None = None


class PicturePool:
    """Encodes pictures in a few threads; refuses work that it could not do in time.

    There is a thread for every core, and packets go before them all: without a lower priority, on
    two cores that 500 anchors kept busy, two threads cost audio slices, too
    (docs/performance.md). All calls are made on the event loop. Used as a context manager: on
    leaving, what is not done yet is dropped.
    """

    def __init__(
        self,
        threads: int = len(os.sched_getaffinity(0)),
        *,
        max_waiting: int | None = None,
    ) -> None:
        """Args:
        threads: how many pictures are worked on at a time.
        max_waiting: how many more may wait; by default 64 for each thread.
        """
        self._executor = ThreadPoolExecutor(
            threads, thread_name_prefix="pictures", initializer=_yield_to_others
        )
        waiting = _WAITING_PER_THREAD * threads if max_waiting is None else max_waiting
        self._max_jobs = threads + waiting
        self._converters = [ColorConverter() for _ in range(threads)]
        """Those that no thread works with."""
        self._jobs: dict[tuple[int, ImageFormat], _Job] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def encode(
        self, keyframe: Keyframe, image_format: ImageFormat, receiver: PictureReceiver
    ) -> bool:
        """Have `keyframe` encoded for `receiver`; False if the pool is full, and nothing happens.

        Whoever asks for the same key frame object in the same format meanwhile shares the work.
        """
        key = id(keyframe), image_format
        job = self._jobs.get(key)
        if job is not None:
            job.receivers.append(receiver)
            return True
        if len(self._jobs) >= self._max_jobs:
            return False
        job = self._jobs[key] = _Job(keyframe, [receiver])
        job.future = asyncio.get_running_loop().run_in_executor(
            self._executor, self._encode, keyframe, image_format
        )
        job.future.add_done_callback(lambda done: self._hand_out(key, done))
        return True

    async def settle(self) -> None:
        """Wait until all pictures that are in the making have reached their receivers."""
        futures = [job.future for job in self._jobs.values() if job.future is not None]
        if futures:
            await asyncio.wait(futures)
            # Receivers are called by the futures' callbacks, in the loop's next round.
            await asyncio.sleep(0)

    def _encode(self, keyframe: Keyframe, image_format: ImageFormat) -> Picture:
        converter = self._converters.pop()
        try:
            return encode_picture(keyframe, image_format, converter)
        finally:
            self._converters.append(converter)

    def _hand_out(self, key: tuple[int, ImageFormat], done: asyncio.Future[Picture]) -> None:
        job = self._jobs.pop(key)
        if done.cancelled():
            return
        error = done.exception()
        result: Picture | UndecodableKeyframeError
        if error is None:
            result = done.result()
        elif isinstance(error, UndecodableKeyframeError):
            result = error
        else:
            _log.error("picture failed unexpectedly", exc_info=error)
            result = UndecodableKeyframeError(str(error))
        for receiver in job.receivers:
            receiver(result)


def _yield_to_others() -> None:
    """Give the calling thread a lower priority than the process has: on Linux each has its own."""
    thread = threading.get_native_id()
    niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
    os.setpriority(os.PRIO_PROCESS, thread, min(niceness, 19))
