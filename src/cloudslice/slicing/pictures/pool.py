"""The processes that turn key frames into pictures, for all robots of a node."""

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog

from cloudslice.faults import Faults
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.messages import Answer, Outcome
from cloudslice.slicing.pictures.picture import (
    DeadlyKeyframeError,
    Picture,
    PictureError,
    PictureLostError,
    UndecodableKeyframeError,
)
from cloudslice.slicing.pictures.worker_process import (
    DEFAULT_LIMITS,
    Fate,
    Job,
    TimeLimits,
    WorkerProcess,
)
from cloudslice.slicing.pictures.worker_start import worker_command

_log = structlog.get_logger(__name__)

PictureReceiver = Callable[[Picture | PictureError], None]
"""Called once, on the event loop, with the picture or the reason why there is none."""

_WAITING_PER_PROCESS = 64
"""Some half a second of work with JPEG, a whole one with PNG. If twice as many may wait, then under
lasting load they are later, and no more. 64 key frames of 720p are some 6 MB."""
_ENOUGH_FOR_ONE = 8
"""Jobs that may wait for each process before another process is started."""
_IDLE_S = 60.0
"""Seconds without work after which a process is ended, if it is not the first one."""
_SETTLE_S = 10.0
_BACKOFF_S = 0.5
_MAX_BACKOFF_S = 30.0
_DEADLY_KEPT = 256

_Key = tuple[int, ImageFormat]
"""Identity of a key frame, which its job holds, and the picture's format."""


@dataclass(slots=True)
class PictureProcessCounters:
    """Since the start of the node."""

    started: int = 0
    died: int = 0
    """Those that ended by themselves, or said what no worker says."""
    stuck: int = 0
    """Those that were ended because they took too long."""


class PicturePool:
    """Encodes pictures in a few processes; refuses work that it could not do in time.

    One process does what it can; it is started with the first picture, and stays. Each further one,
    up to one for each core, helps while more wait than is enough for those before it. When one dies
    or is stuck, the picture that it was making is lost and its key frame is not tried again.

    All calls are made on the event loop. Used as a context manager: what is not done yet on leaving
    is dropped.

    Attributes:
        counters: what became of its processes.
        faults: what those who were handed a picture raised.
    """

    def __init__(
        self,
        processes: int = len(os.sched_getaffinity(0)),
        *,
        max_waiting: int | None = None,
        limits: TimeLimits = DEFAULT_LIMITS,
        command: Sequence[str] | None = None,
    ) -> None:
        """Args:
        processes: how many pictures are worked on at a time, at most.
        max_waiting: how many more may wait; by default 64 for each process.
        limits: when a process is taken to be stuck.
        command: starts a worker; by default that of this package.
        """
        self.counters = PictureProcessCounters()
        self.faults = Faults("picture receiver")
        waiting = _WAITING_PER_PROCESS * processes if max_waiting is None else max_waiting
        self._max_processes = processes
        self._max_jobs = processes + waiting
        self._limits = limits
        self._command = worker_command() if command is None else command
        self._receivers: dict[_Key, list[PictureReceiver]] = {}
        """Of all jobs that have no result yet."""
        self._waiting: deque[Job] = deque()
        """The jobs that no process has."""
        self._workers: list[WorkerProcess] = []
        """In the order of their starts."""
        self._failed_starts = 0
        """In a row."""
        self._retry: asyncio.TimerHandle | None = None
        """No process is started before."""
        self._deadly: deque[bytes] = deque(maxlen=_DEADLY_KEPT)
        """Digests of the key frames that cost a process."""
        self._has_told_missing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._receivers.clear()
        self._waiting.clear()
        if self._retry is not None:
            self._retry.cancel()
        for worker in self._workers:
            worker.kill()
        self._workers.clear()

    @property
    def process_ids(self) -> list[int]:
        """Those of the processes, in the order in which they were started."""
        return [worker.pid for worker in self._workers]

    def encode(
        self, keyframe: Keyframe, image_format: ImageFormat, receiver: PictureReceiver
    ) -> bool:
        """Have `keyframe` encoded for `receiver`; False if the pool is full, and nothing happens.

        Whoever asks for the same key frame object in the same format meanwhile shares the work.
        """
        job = Job(keyframe, image_format)
        receivers = self._receivers.get(_key(job))
        if receivers is not None:
            receivers.append(receiver)
            return True
        if len(self._receivers) >= self._max_jobs:
            return False
        self._receivers[_key(job)] = [receiver]
        if self._deadly and _digest(keyframe) in self._deadly:
            self._finish(job, DeadlyKeyframeError("a process was lost to this key frame before"))
        else:
            self._waiting.append(job)
            self._dispatch()
        return True

    async def settle(self) -> None:
        """Wait until all pictures in the making have reached their receivers, for 10 s at most."""
        left = len(self._receivers)
        settled = asyncio.Event()

        def count(_result: Picture | PictureError) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                settled.set()

        for receivers in self._receivers.values():
            receivers.append(count)
        if not left:
            return
        try:
            await asyncio.wait_for(settled.wait(), _SETTLE_S)
        except TimeoutError:
            _log.warning("pictures are not waited for any longer", left=left)

    def on_ready(self, worker: WorkerProcess, missing: str) -> None:
        """See `WorkerOwner`."""
        self._failed_starts = 0
        if missing and not self._has_told_missing:
            self._has_told_missing = True
            _log.warning("the sandbox of picture processes is not whole here", missing=missing)
        self._dispatch()

    def on_answer(self, worker: WorkerProcess, job: Job, answer: Answer) -> None:
        """See `WorkerOwner`."""
        self._finish(job, _result(answer))
        self._dispatch()
        if not worker.jobs and worker is not self._workers[0]:
            worker.dismiss_in(_IDLE_S)

    def on_end(self, worker: WorkerProcess, cause: str) -> None:
        """See `WorkerOwner`."""
        self._workers.remove(worker)
        if worker.fate is Fate.STUCK:
            self.counters.stuck += 1
        elif worker.fate is Fate.DIED:
            self.counters.died += 1
        if not worker.was_ready:
            self._on_failed_start(cause)
        elif worker.jobs:
            deadly, *others = worker.jobs
            self._waiting.extendleft(reversed(others))
            self._on_deadly(deadly, cause)
        elif worker.fate is not Fate.DISMISSED:
            _log.error("a picture process that had nothing to do died", cause=cause)
        self._dispatch()

    def _dispatch(self) -> None:
        """Hand out what waits, and start another process if that is not enough."""
        for rank, worker in enumerate(each for each in self._workers if each.is_ready):
            while worker.has_room and len(self._waiting) > rank * _ENOUGH_FOR_ONE:
                worker.give(self._waiting.popleft())
        if (
            len(self._waiting) > len(self._workers) * _ENOUGH_FOR_ONE
            and len(self._workers) < self._max_processes
            and all(each.is_ready for each in self._workers)
            and self._retry is None
        ):
            # Without what is bound for the log where the picture comes from.
            Context().run(self._start_worker)

    def _start_worker(self) -> None:
        self.counters.started += 1
        try:
            self._workers.append(WorkerProcess(self, self._command, self._limits))
        except OSError as error:
            self._on_failed_start(str(error))

    def _on_failed_start(self, cause: str) -> None:
        self._failed_starts += 1
        delay = min(_BACKOFF_S * 2 ** (self._failed_starts - 1), _MAX_BACKOFF_S)
        self._retry = asyncio.get_running_loop().call_later(delay, self._end_backoff)
        _log.error("a picture process could not be started", cause=cause, retry_in_s=delay)
        if self._workers:
            return
        while self._waiting:
            self._finish(self._waiting.popleft(), PictureLostError(f"no process for it: {cause}"))

    def _end_backoff(self) -> None:
        self._retry = None
        self._dispatch()

    def _on_deadly(self, job: Job, cause: str) -> None:
        """A process was lost to that job."""
        _log.error("a picture process was lost", cause=cause, codec=job.keyframe.decoding.decoder)
        self._deadly.append(_digest(job.keyframe))
        error = DeadlyKeyframeError(f"the process that made it was lost: {cause}")
        self._finish(job, error)
        for other in [each for each in self._waiting if each.keyframe is job.keyframe]:
            self._waiting.remove(other)
            self._finish(other, error)

    def _finish(self, job: Job, result: Picture | PictureError) -> None:
        loop = asyncio.get_running_loop()
        for receiver in self._receivers.pop(_key(job)):
            loop.call_soon(self._hand_over, receiver, result)

    def _hand_over(self, receiver: PictureReceiver, result: Picture | PictureError) -> None:
        try:
            receiver(result)
        except Exception as error:  # the others wait for theirs
            self.faults.caught(error)


def _key(job: Job) -> _Key:
    return id(job.keyframe), job.image_format


def _digest(keyframe: Keyframe) -> bytes:
    return hashlib.blake2b(keyframe.data, digest_size=16).digest()


def _result(answer: Answer) -> Picture | PictureError:
    if answer.outcome is Outcome.PICTURE:
        return Picture(answer.data, answer.width, answer.height)
    if answer.outcome is Outcome.FAILED:
        _log.error("picture failed unexpectedly", reason=answer.text)
    return UndecodableKeyframeError(answer.text)
