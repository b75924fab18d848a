"""The server's side of one worker: starts it, gives it jobs, takes its answers, and ends it."""

import asyncio
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.messages import (
    JOB,
    Answer,
    AnswerReader,
    MessageError,
    Outcome,
)
from cloudslice.slicing.pictures.worker_start import describe_status, start_worker

JOBS_AT_ONCE = 2
"""One that is worked on, and one that waits in the worker: it need not wait for the event loop."""
_CHECKS = 5
"""Parts in which a time limit is counted. A machine that stood still uses up one of them."""
_REAP_S = 0.01
_LAST_WORD_S = 1.0
_READS_AT_ONCE = 8
"""Pieces of an answer that are read before others have the event loop."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds after which a worker is taken to be stuck."""

    start: float = 30.0
    job: float = 5.0


DEFAULT_LIMITS = TimeLimits()


@dataclass(frozen=True, eq=False, slots=True)
class Job:
    """A picture to be made."""

    keyframe: Keyframe
    image_format: ImageFormat


class Fate(Enum):
    """What becomes of a worker."""

    LIVES = auto()
    DISMISSED = auto()
    """It was not needed any more."""
    DIED = auto()
    """It ended by itself, or said what no worker says."""
    STUCK = auto()
    """It was ended because it took too long."""


class WorkerOwner(Protocol):
    """Who has a worker. Called on the event loop."""

    def on_ready(self, worker: "WorkerProcess", missing: str) -> None:
        """It takes jobs. `missing` says what its sandbox lacks, or is empty."""
        ...

    def on_answer(self, worker: "WorkerProcess", job: Job, answer: Answer) -> None:
        """A job is done: the answer's outcome is any but READY."""
        ...

    def on_end(self, worker: "WorkerProcess", cause: str) -> None:
        """The process is gone. What is left in `worker.jobs` will have no answer."""
        ...


class WorkerProcess:
    """One worker, from its start to its end. All calls are made on the event loop.

    Attributes:
        jobs: those that it has, in the order in which it does them.
        was_ready: whether it has ever taken jobs.
        fate: what became of it.
    """

    def __init__(self, owner: WorkerOwner, command: Sequence[str], limits: TimeLimits) -> None:
        """Start it; `owner.on_ready` or `owner.on_end` follows.

        Raises:
            OSError: it cannot be started.
        """
        self.jobs: deque[Job] = deque()
        self.was_ready = False
        self.fate = Fate.LIVES
        self._owner = owner
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._reader = AnswerReader()
        self._unsent: list[memoryview] = []
        self._waits_to_send = False
        self._next_number = 0
        self._socket, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = start_worker(command, theirs)
            except OSError:
                self._socket.close()
                raise
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._on_readable)
        self._timer: asyncio.TimerHandle | None = None
        """For a time limit, for how long it may be idle, or until it is gone: one at a time."""
        self._watch(limits.start)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it does jobs."""
        return self.was_ready and self.fate is Fate.LIVES

    @property
    def has_room(self) -> bool:
        """Whether it can be given another job."""
        return self.is_ready and len(self.jobs) < JOBS_AT_ONCE

    def give(self, job: Job) -> None:
        """Have it do `job` after those that it has."""
        keyframe = job.keyframe
        decoder, colors, bitstream_tells_colors, has_layers = keyframe.decoding
        header = JOB.pack(
            self._number(len(self.jobs)),
            decoder.encode(),
            *colors,
            bitstream_tells_colors,
            has_layers,
            job.image_format.value.encode(),
            keyframe.rotation,
            len(keyframe.data),
        )
        if not self.jobs:
            self._watch(self._limits.job)
        self.jobs.append(job)
        is_sending = bool(self._unsent)
        self._unsent += [memoryview(header), memoryview(keyframe.data)]
        if not is_sending:
            self._send()

    def dismiss_in(self, seconds: float) -> None:
        """End it if it is given no job for so many seconds; it has none now."""
        self._set_timer(seconds, self._end, Fate.DISMISSED, "not needed any more")

    def kill(self) -> None:
        """End it and wait until it is gone, for a second at most. The owner hears no more of it."""
        self._let_go()
        self._process.kill()
        try:
            self._process.wait(_LAST_WORD_S)
        except subprocess.TimeoutExpired:  # the kernel holds it, and will end it
            self._process.returncode = -signal.SIGKILL

    def _number(self, place: int) -> int:
        """That of the job in that place of `jobs`."""
        return (self._next_number + place) % (1 << 32)

    def _send(self) -> None:
        try:
            while self._unsent:
                self._drop_sent(self._socket.sendmsg(self._unsent))
        except BlockingIOError:
            self._wait_to_send(True)
            return
        except ConnectionError:  # it is gone; reading tells
            self._unsent.clear()
        self._wait_to_send(False)

    def _wait_to_send(self, waits: bool) -> None:
        if waits and not self._waits_to_send:
            self._loop.add_writer(self._socket, self._send)
        elif self._waits_to_send and not waits:
            self._loop.remove_writer(self._socket)
        self._waits_to_send = waits

    def _drop_sent(self, count: int) -> None:
        while self._unsent and count >= len(self._unsent[0]):
            count -= len(self._unsent.pop(0))
        if self._unsent:
            self._unsent[0] = self._unsent[0][count:]

    def _on_readable(self) -> None:
        try:
            for _ in range(_READS_AT_ONCE):
                count = self._socket.recv_into(self._reader.space)
                if count == 0:
                    self._end(Fate.DIED, "")
                    return
                answer = self._reader.add(count)
                if answer is not None:
                    self._take(answer)
        except BlockingIOError:
            return
        except MessageError as error:
            self._end(Fate.DIED, f"it said what no worker says: {error}")
        except ConnectionError:
            self._end(Fate.DIED, "")

    def _take(self, answer: Answer) -> None:
        if not self.was_ready:
            if answer.outcome is not Outcome.READY:
                raise MessageError(f"{answer.outcome.name} before it was ready")
            self.was_ready = True
            self._stop_timer()
            self._owner.on_ready(self, answer.text)
            return
        if not self.jobs or answer.number != self._number(0) or answer.outcome is Outcome.READY:
            raise MessageError(f"{answer.outcome.name} of job {answer.number} out of turn")
        image_format = self.jobs[0].image_format
        if answer.outcome is Outcome.PICTURE and not answer.is_file(image_format):
            raise MessageError(f"a picture that is no {image_format.value}")
        job = self.jobs.popleft()
        self._next_number = self._number(1)
        if self.jobs:
            self._watch(self._limits.job)
        else:
            self._stop_timer()
        self._owner.on_answer(self, job, answer)

    def _watch(self, limit_s: float, checks: int = _CHECKS) -> None:
        self._set_timer(limit_s / _CHECKS, self._check, limit_s, checks - 1)

    def _check(self, limit_s: float, checks: int) -> None:
        if checks:
            self._watch(limit_s, checks)
        else:
            self._end(Fate.STUCK, f"it took longer than {limit_s:g} s")

    def _end(self, fate: Fate, cause: str) -> None:
        """`cause`: why it is ended; empty if it has ended by itself, for then its status says."""
        self.fate = fate
        self._let_go()
        self._process.kill()
        self._reap(cause)

    def _let_go(self) -> None:
        self._stop_timer()
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._wait_to_send(False)
            self._socket.close()

    def _reap(self, cause: str) -> None:
        status = self._process.poll()
        if status is None:
            self._set_timer(_REAP_S, self._reap, cause)
        else:
            self._owner.on_end(self, cause or describe_status(status))

    def _set_timer(self, seconds: float, call: Callable[..., None], *arguments: object) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(seconds, call, *arguments)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
