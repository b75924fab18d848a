"""The threads that turn key frames into pictures, for all robots of a process."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from cloudslice.rooms.base import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.decoding import UndecodableKeyframeError
from cloudslice.slicing.pictures.picture_files import Picture, encode_picture
from cloudslice.slicing.pictures.worker_threads import WorkerThreads

_log = structlog.get_logger(__name__)

PictureReceiver = Callable[[Picture | UndecodableKeyframeError], None]
"""Called once, on the event loop, with the picture or the reason why there is none."""

_WAITING_PER_THREAD = 64
"""Some half a second of work with JPEG, a whole one with PNG. If twice as many may wait, then under
lasting load they are later, and no more. 64 key frames of 720p are some 6 MB."""


@dataclass(slots=True)
class _Job:
    keyframe: Keyframe
    """Held so that its identity stays its own."""
    image_format: ImageFormat
    receivers: list[PictureReceiver]

    @property
    def key(self) -> tuple[int, ImageFormat]:
        return id(self.keyframe), self.image_format


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
        threads: how many pictures are worked on at a time, at most.
        max_waiting: how many more may wait; by default 64 for each thread.
        """
        waiting = _WAITING_PER_THREAD * threads if max_waiting is None else max_waiting
        self._max_jobs = threads + waiting
        self._converters = [ColorConverter() for _ in range(threads)]
        """By thread."""
        self._jobs: dict[tuple[int, ImageFormat], _Job] = {}
        self._threads = WorkerThreads(threads, "pictures")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._threads.close()

    def encode(
        self, keyframe: Keyframe, image_format: ImageFormat, receiver: PictureReceiver
    ) -> bool:
        """Have `keyframe` encoded for `receiver`; False if the pool is full, and nothing happens.

        Whoever asks for the same key frame object in the same format meanwhile shares the work.
        """
        new = _Job(keyframe, image_format, [receiver])
        job = self._jobs.get(new.key)
        if job is not None:
            job.receivers.append(receiver)
            return True
        if len(self._jobs) >= self._max_jobs:
            return False
        self._jobs[new.key] = new
        self._threads.submit(partial(self._encode, new, asyncio.get_running_loop()))
        return True

    async def settle(self) -> None:
        """Wait until all pictures that are in the making have reached their receivers."""
        left = len(self._jobs)
        settled = asyncio.Event()

        def count(_result: Picture | UndecodableKeyframeError) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                settled.set()

        for job in self._jobs.values():
            job.receivers.append(count)
        if left:
            await settled.wait()

    def _encode(self, job: _Job, loop: asyncio.AbstractEventLoop, thread: int) -> None:
        result: Picture | UndecodableKeyframeError
        try:
            result = encode_picture(job.keyframe, job.image_format, self._converters[thread])
        except UndecodableKeyframeError as error:
            result = error
        except Exception as error:  # whatever the libraries throw costs one picture
            _log.exception("picture failed unexpectedly")
            result = UndecodableKeyframeError(str(error))
        loop.call_soon_threadsafe(self._hand_out, job, result)

    def _hand_out(self, job: _Job, result: Picture | UndecodableKeyframeError) -> None:
        del self._jobs[job.key]
        for receiver in job.receivers:
            receiver(result)
