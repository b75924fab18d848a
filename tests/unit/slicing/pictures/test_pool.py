"""Image work is bounded, shared, and spread over as few processes as can do it."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import pytest

from cloudslice.codecs.vp8 import VP8
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures import pool as pool_module
from cloudslice.slicing.pictures.messages import Answer, Outcome
from cloudslice.slicing.pictures.picture import (
    DeadlyKeyframeError,
    Picture,
    PictureError,
    PictureLostError,
    UndecodableKeyframeError,
)
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.pictures.worker_process import Fate, Job, TimeLimits, WorkerOwner
from helpers.waiting import eventually

PNG, JPG = ImageFormat.PNG, ImageFormat.JPG
Result = Picture | PictureError


class ManualWorker:
    """Stands in for a worker process: it is ready, answers and dies when the test says so."""

    started: "list[ManualWorker]"

    def __init__(self, owner: WorkerOwner, command: Sequence[str], limits: TimeLimits) -> None:
        if command == ["nothing"]:
            raise FileNotFoundError("no such program")
        self.jobs: deque[Job] = deque()
        self.was_ready = False
        self.fate = Fate.LIVES
        self.killed = False
        self.dismissed_in: float | None = None
        self.pid = len(self.started)
        self._owner = owner
        self.started.append(self)

    @property
    def is_ready(self) -> bool:
        return self.was_ready and self.fate is Fate.LIVES

    @property
    def has_room(self) -> bool:
        return self.is_ready and len(self.jobs) < 2

    def give(self, job: Job) -> None:
        assert self.has_room
        self.dismissed_in = None
        self.jobs.append(job)

    def dismiss_in(self, seconds: float) -> None:
        assert not self.jobs
        self.dismissed_in = seconds

    def kill(self) -> None:
        self.killed = True

    def get_ready(self, missing: str = "") -> None:
        self.was_ready = True
        self._owner.on_ready(self, missing)  # type: ignore[arg-type]

    def answer(self, outcome: Outcome = Outcome.PICTURE) -> None:
        """Its oldest job's picture is the key frame."""
        job = self.jobs.popleft()
        answer = Answer(0, outcome, 1, 1, job.keyframe.data)
        self._owner.on_answer(self, job, answer)  # type: ignore[arg-type]

    def end(self, fate: Fate = Fate.DIED, cause: str = "SIGSEGV") -> None:
        self.fate = fate
        self._owner.on_end(self, cause)  # type: ignore[arg-type]


class Results:
    """Receives, and remembers."""

    def __init__(self) -> None:
        self.all: list[Result] = []

    def __call__(self, result: Result) -> None:
        self.all.append(result)

    async def take(self, count: int) -> list[Result]:
        """The next results, once there are so many."""
        await eventually(lambda: len(self.all) >= count)
        taken, self.all = self.all[:count], self.all[count:]
        return taken


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ManualWorker]]:
    ManualWorker.started = []
    monkeypatch.setattr(pool_module, "WorkerProcess", ManualWorker)
    return ManualWorker.started


@pytest.fixture
def results() -> Results:
    return Results()


def keyframe(number: int = 0) -> Keyframe:
    return Keyframe(VP8.decoding, b"%d" % number, 0.0, 0)


def encode(pool: PicturePool, receiver: Callable[[Result], None], count: int) -> list[Keyframe]:
    frames = [keyframe(number) for number in range(count)]
    for each in frames:
        assert pool.encode(each, PNG, receiver)
    return frames


async def test_the_first_picture_starts_a_process_that_stays(
    workers: list[ManualWorker], results: Results
) -> None:
    with PicturePool(3) as pool:
        assert workers == []
        encode(pool, results, 3)
        [worker] = workers
        assert not worker.jobs
        worker.get_ready()
        for _ in range(3):
            worker.answer()
        assert [type(each) for each in await results.take(3)] == [Picture] * 3
        assert worker.dismissed_in is None
        assert len(workers) == 1


async def test_one_waits_in_the_process_while_it_works(
    workers: list[ManualWorker], results: Results
) -> None:
    """So that it need not wait for the event loop; in the order in which they came."""
    with PicturePool(1) as pool:
        frames = encode(pool, results, 4)
        [worker] = workers
        worker.get_ready()
        assert [job.keyframe for job in worker.jobs] == frames[:2]
        worker.answer()
        assert [job.keyframe for job in worker.jobs] == frames[1:3]


async def test_others_help_while_more_wait_than_one_can_do(
    workers: list[ManualWorker], results: Results
) -> None:
    """The second when nine do, the third when seventeen do, each as long as it is so."""
    with PicturePool(3) as pool:
        encode(pool, results, 10)
        first = workers[0]
        first.get_ready()
        assert len(workers) == 1
        encode(pool, results, 1)
        second = workers[1]
        encode(pool, results, 30)
        assert len(workers) == 2, "one is started after the other"
        second.get_ready()
        assert len(second.jobs) == 2
        workers[2].get_ready()
        assert len(workers[2].jobs) == 2
        encode(pool, results, 40)
        assert len(workers) == 3, "as many as it may have"
        while second.jobs:
            second.answer()
        while first.jobs:
            first.answer()
        assert len(await results.take(73)) == 73


async def test_a_further_process_that_has_nothing_to_do_is_ended(
    workers: list[ManualWorker], results: Results
) -> None:
    with PicturePool(2) as pool:
        encode(pool, results, 11)
        workers[0].get_ready()
        workers[1].get_ready()
        workers[1].answer()
        while workers[1].jobs:
            workers[1].answer()
        assert workers[1].dismissed_in == 60
        workers[1].end(Fate.DISMISSED, "not needed any more")
        assert pool.process_ids == [0]
        while workers[0].jobs:
            workers[0].answer()
        assert pool.counters.started == 2
        assert pool.counters.died == 0


async def test_robots_with_one_key_frame_share_one_encoding(
    workers: list[ManualWorker], results: Results
) -> None:
    """In the same format; an equal key frame of another anchor is not the same."""
    shared = keyframe()
    with PicturePool() as pool:
        for each, image_format in ((shared, PNG), (shared, PNG), (shared, JPG), (keyframe(), PNG)):
            assert pool.encode(each, image_format, results)
        workers[0].get_ready()
        for _ in range(3):
            workers[0].answer()
        assert len(await results.take(4)) == 4
        assert not workers[0].jobs


async def test_a_full_pool_refuses_work_and_takes_it_again_later(
    workers: list[ManualWorker], results: Results
) -> None:
    with PicturePool(1, max_waiting=2) as pool:
        frames = [keyframe(index) for index in range(4)]
        taken = [pool.encode(frame, PNG, results) for frame in frames]
        assert taken == [True, True, True, False]
        assert pool.encode(frames[2], PNG, results), "sharing costs nothing"
        workers[0].get_ready()
        workers[0].answer()
        assert pool.encode(frames[3], PNG, results)
        for _ in range(3):
            workers[0].answer()
        pictures = await results.take(5)
    assert [each.data for each in pictures if isinstance(each, Picture)] == [
        b"0", b"1", b"2", b"2", b"3"
    ]  # fmt: skip


async def test_settling_waits_for_what_is_in_the_making(
    workers: list[ManualWorker], results: Results
) -> None:
    """An idle pool is settled at once."""
    with PicturePool(1) as pool:
        await pool.settle()
        encode(pool, results, 3)
        settling = asyncio.ensure_future(pool.settle())
        await asyncio.sleep(0)
        workers[0].get_ready()
        workers[0].answer()
        workers[0].answer(Outcome.UNDECODABLE)
        await asyncio.sleep(0)
        assert not settling.done()
        workers[0].answer()
        await settling
        assert len(results.all) == 3


async def test_settling_ends_when_it_has_taken_too_long(
    workers: list[ManualWorker],
    results: Results,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pool_module, "_SETTLE_S", 0.01)
    with PicturePool(1) as pool:
        encode(pool, results, 2)
        await pool.settle()
    assert "pictures are not waited for any longer" in capsys.readouterr().out


async def test_work_left_on_leaving_is_dropped(
    workers: list[ManualWorker], results: Results
) -> None:
    with PicturePool(1) as pool:
        encode(pool, results, 4)
        workers[0].get_ready()
    assert workers[0].killed
    assert results.all == []


async def test_what_cannot_be_made_is_reported_with_its_reason(
    workers: list[ManualWorker], results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    with PicturePool(1) as pool:
        encode(pool, results, 2)
        workers[0].get_ready()
        workers[0].answer(Outcome.UNDECODABLE)
        workers[0].answer(Outcome.FAILED)
        errors = await results.take(2)
    assert [type(each) for each in errors] == [UndecodableKeyframeError] * 2
    assert [str(each) for each in errors] == ["0", "1"]
    assert capsys.readouterr().out.count("picture failed unexpectedly") == 1


@pytest.mark.parametrize(
    ("fate", "died", "stuck"), [(Fate.DIED, 1, 0), (Fate.STUCK, 0, 1)], ids=["dies", "hangs"]
)
async def test_a_lost_process_costs_the_picture_under_way(
    workers: list[ManualWorker], results: Results, fate: Fate, died: int, stuck: int
) -> None:
    """Those after it are made by the next process."""
    with PicturePool(1) as pool:
        frames = encode(pool, results, 4)
        workers[0].get_ready()
        workers[0].answer()
        workers[0].end(fate, "SIGSEGV")
        workers[1].get_ready()
        assert [job.keyframe for job in workers[1].jobs] == frames[2:]
        workers[1].answer()
        workers[1].answer()
        made, lost, *others = await results.take(4)
        counters = pool.counters
    assert isinstance(lost, DeadlyKeyframeError)
    assert "SIGSEGV" in str(lost)
    assert [type(each) for each in (made, *others)] == [Picture] * 3
    assert (counters.started, counters.died, counters.stuck) == (2, died, stuck)


async def test_a_key_frame_that_cost_a_process_is_not_tried_again(
    workers: list[ManualWorker], results: Results
) -> None:
    """In no format, and not if it is sent once more."""
    deadly = keyframe(7)
    with PicturePool(1) as pool:
        for image_format in (PNG, JPG):
            assert pool.encode(deadly, image_format, results)
        assert pool.encode(keyframe(8), PNG, results)
        assert pool.encode(deadly, PNG, results)
        workers[0].get_ready()
        workers[0].end()
        assert [type(each) for each in await results.take(3)] == [DeadlyKeyframeError] * 3
        workers[1].get_ready()
        assert pool.encode(keyframe(7), JPG, results)
        assert isinstance((await results.take(1))[0], DeadlyKeyframeError)
        [job] = workers[1].jobs
    assert job.keyframe == keyframe(8)


async def test_a_process_that_dies_idle_is_started_again_with_the_next_picture(
    workers: list[ManualWorker], results: Results
) -> None:
    with PicturePool(1) as pool:
        encode(pool, results, 1)
        workers[0].get_ready()
        workers[0].answer()
        workers[0].end(cause="SIGKILL")
        assert len(workers) == 1
        encode(pool, results, 1)
        workers[1].get_ready()
        workers[1].answer()
        assert [type(each) for each in await results.take(2)] == [Picture] * 2
        assert pool.counters.died == 1


async def test_a_process_that_cannot_start_is_tried_again_ever_later(
    workers: list[ManualWorker],
    results: Results,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What waited for it is lost; what comes meanwhile waits for the next try."""
    monkeypatch.setattr(pool_module, "_BACKOFF_S", 0.01)
    with PicturePool(1) as pool:
        for tries in (1, 2, 3):
            encode(pool, results, 2)
            await eventually(lambda tries=tries: len(workers) == tries)  # type: ignore[misc]
            workers[-1].end(cause="exit status 1")
            assert [type(each) for each in await results.take(2)] == [PictureLostError] * 2
        logged = capsys.readouterr().out
        assert [delay in logged for delay in ("0.01", "0.02", "0.04")] == [True] * 3
        encode(pool, results, 1)
        assert len(workers) == 3
        await eventually(lambda: len(workers) == 4)
        workers[3].get_ready()
        workers[3].answer()
        [picture] = await results.take(1)
    assert isinstance(picture, Picture)


async def test_a_program_that_is_not_there_costs_pictures_only(
    workers: list[ManualWorker], results: Results
) -> None:
    with PicturePool(1, command=["nothing"]) as pool:
        assert pool.encode(keyframe(), PNG, results)
        [lost] = await results.take(1)
    assert isinstance(lost, PictureLostError)
    assert "no such program" in str(lost)


async def test_a_sandbox_that_is_not_whole_is_told_once(
    workers: list[ManualWorker], results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    with PicturePool(1) as pool:
        for number in range(2):
            assert pool.encode(keyframe(number), PNG, results)
            workers[number].get_ready("seccomp: Operation not permitted")
            workers[number].end()
    told = capsys.readouterr().out
    assert told.count("the sandbox of picture processes is not whole here") == 1
    assert "seccomp: Operation not permitted" in told


async def test_one_receiver_that_fails_is_no_harm_to_others(
    workers: list[ManualWorker], results: Results
) -> None:
    shared = keyframe()

    def fail(_: Result) -> None:
        raise RuntimeError

    with PicturePool(1) as pool:
        assert pool.encode(shared, PNG, fail)
        assert pool.encode(shared, PNG, results)
        workers[0].get_ready()
        workers[0].answer()
        await results.take(1)
        assert pool.faults.errors == 1
