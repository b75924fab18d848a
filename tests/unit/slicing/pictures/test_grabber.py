"""When pictures are asked for, taken, and left out."""

from collections.abc import Callable
from itertools import pairwise
from math import inf

import pytest

from cloudslice.codecs.vp8 import VP8
from cloudslice.events import PictureMissing, PictureNotTaken
from cloudslice.media.tracks import Keyframe
from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.grabber import FrameGrabber
from cloudslice.slicing.pictures.picture import (
    DeadlyKeyframeError,
    Picture,
    PictureError,
    PictureLostError,
    UndecodableKeyframeError,
)
from cloudslice.tick import PERIOD_S
from helpers.slice_store import UTC_AT_ZERO_MS, ManualClock, MemoryStore
from helpers.tracks import ManualVideo

ORIGIN = SliceOrigin("task", "anchor", SliceKind.IMAGE, "png")
Receiver = Callable[[Picture | PictureError], None]


class ManualPool:
    """Finishes a picture when the test says so."""

    def __init__(self) -> None:
        self.is_full = False
        self.jobs: list[tuple[Keyframe, Receiver]] = []
        self.formats: list[ImageFormat] = []

    def encode(self, keyframe: Keyframe, image_format: ImageFormat, receiver: Receiver) -> bool:
        if self.is_full:
            return False
        self.jobs.append((keyframe, receiver))
        self.formats.append(image_format)
        return True

    def finish(self) -> None:
        for keyframe, receiver in self.jobs:
            receiver(Picture(keyframe.data, 640, 360))
        self.jobs.clear()


class Grabbing:
    """A grabber of one picture every 5 s, from second 100 on."""

    def __init__(self, due_times: DueTimes | None = None, since: float = -inf) -> None:
        self.due_times = due_times or DueTimes()
        self.clock = ManualClock()
        self.clock.now = 100.0
        self.track = ManualVideo()
        self.store = MemoryStore()
        self.pool = ManualPool()
        self.counters = SlicingCounters()
        self.missing: list[PictureNotTaken] = []
        self.grabber = FrameGrabber(
            self.track,
            ORIGIN,
            self.store,
            self.pool,  # type: ignore[arg-type]
            self.due_times,
            self.clock,
            interval_s=5,
            image_format=ImageFormat.PNG,
            counters=self.counters,
            publish=self._note,
            since=since,
        )

    def run_to(self, second: float) -> None:
        """Tick every 100 ms up to `second`."""
        while self.clock.now < second - 1e-6:
            self.clock.now = round(self.clock.now + 0.1, 6)
            self.grabber.tick(self.clock.now)

    def _note(self, missing: PictureNotTaken) -> None:
        self.missing.append(missing)
        self.counters.note(missing)

    def grant(self) -> None:
        """A key frame arrives now and its picture is made at once."""
        now = self.clock.now
        self.track.grant(Keyframe(VP8.decoding, str(now).encode(), now, 0))
        self.pool.finish()

    def taken(self) -> list[float]:
        """The seconds of the stored pictures."""
        return [(each.start_utc_ms - UTC_AT_ZERO_MS) / 1000 for each in self.store.slices]


def test_the_first_picture_is_asked_for_at_once() -> None:
    grabbing = Grabbing()
    assert [request.due for request in grabbing.track.requests] == [100.0 - PERIOD_S]
    grabbing.run_to(100.1)
    grabbing.grant()
    [stored] = grabbing.store.slices
    assert (stored.origin, stored.start_utc_ms) == (ORIGIN, UTC_AT_ZERO_MS + 100_100)
    assert stored.data.startswith(b"100.1")
    due_ms = UTC_AT_ZERO_MS + 100_000
    assert stored.details == {
        "width": 640, "height": 360, "due-ms": due_ms, "codec": "vp8", "rotation": 0,
    }  # fmt: skip


def test_what_the_transport_knows_is_told_too() -> None:
    grabbing = Grabbing()
    grabbing.track.description = {"layer": "lower", "requests-ignored": 1}
    grabbing.grant()
    [stored] = grabbing.store.slices
    assert (stored.details["layer"], stored.details["requests-ignored"]) == ("lower", 1)
    assert b"layer=lower requests-ignored=1" in stored.data


def test_due_times_do_not_drift_with_the_time_it_takes() -> None:
    grabbing = Grabbing()
    for due in (100, 105, 110, 115):
        grabbing.run_to(due + 0.3)
        grabbing.grant()
    assert grabbing.taken() == [100.3, 105.3, 110.3, 115.3]
    assert grabbing.counters.pictures == 4


def test_pictures_after_the_first_are_due_when_another_tracks_are() -> None:
    due_times = DueTimes()
    others = due_times.join(5, "other", 98.0)
    grabbing = Grabbing(due_times)
    for second in (100, 103, 108, 113):
        grabbing.run_to(second)
        grabbing.grant()
    dues = [int(each.details["due-ms"]) - UTC_AT_ZERO_MS for each in grabbing.store.slices]
    assert dues == [100_000, *(round((others + 5 * each) * 1000) for each in range(3))]


def test_a_closed_grabber_gives_its_tick_back() -> None:
    grabbing = Grabbing()
    grabbing.grant()
    grabbing.grabber.close()
    assert grabbing.due_times.join(5, "a", 101.0) == DueTimes().join(5, "a", 101.0)


def test_another_interval_holds_from_the_change_on() -> None:
    """Half an interval to a whole one after it the first picture is due, however long the former
    interval was; the tick of the former one is given back."""
    grabbing = Grabbing()
    grabbing.grant()
    grabbing.grabber.change(60, ImageFormat.PNG)
    grabbing.run_to(110)
    assert grabbing.taken() == [100.0]
    grabbing.grabber.change(5, ImageFormat.PNG)
    while grabbing.clock.now < 140:
        grabbing.run_to(grabbing.clock.now + 0.1)
        grabbing.grant()
    seconds = grabbing.taken()[1:]
    assert 112.4 <= seconds[0] <= 115.1
    gaps = [after - before for before, after in pairwise(seconds)]
    assert gaps == pytest.approx([5] * 5, abs=0.11)
    grabbing.grabber.close()
    for interval_s in (5, 60):
        free = grabbing.due_times.join(interval_s, "a", 101.0)
        assert free == DueTimes().join(interval_s, "a", 101.0)


def test_a_picture_that_is_asked_for_is_due_as_it_was() -> None:
    grabbing = Grabbing()
    grabbing.run_to(100.4)
    grabbing.grabber.change(60, ImageFormat.JPG)
    assert [request.due for request in grabbing.track.requests] == [100.0 - PERIOD_S]
    grabbing.grant()
    [stored] = grabbing.store.slices
    assert stored.details["due-ms"] == UTC_AT_ZERO_MS + 100_000
    grabbing.run_to(130)
    assert grabbing.track.requests == []
    grabbing.run_to(160.5)
    assert len(grabbing.track.requests) == 1


def test_a_picture_in_the_making_keeps_its_format() -> None:
    grabbing = Grabbing()
    grabbing.track.grant(Keyframe(VP8.decoding, b"first", 100.0, 0))
    grabbing.grabber.change(5, ImageFormat.JPG)
    grabbing.pool.finish()
    grabbing.run_to(105)
    grabbing.grant()
    assert [each.origin.extension for each in grabbing.store.slices] == ["png", "jpg"]
    assert grabbing.pool.formats == [ImageFormat.PNG, ImageFormat.JPG]


def test_a_key_frame_shortly_before_the_due_time_is_used() -> None:
    """The sender is asked a tick ahead."""
    grabbing = Grabbing()
    due = DueTimes().join(5, "a", 100.0)
    grabbing.grant()
    grabbing.run_to(due - 0.2)
    assert grabbing.track.requests == []
    grabbing.clock.now = due - 0.04
    grabbing.grabber.tick(due - 0.04)
    assert [request.due for request in grabbing.track.requests] == [due - PERIOD_S]
    grabbing.grant()
    grabbing.run_to(due + 5)
    assert [request.due for request in grabbing.track.requests] == [due + 5 - PERIOD_S]
    assert grabbing.taken() == [100.0, pytest.approx(due - 0.04, abs=0.001)]


def test_one_request_is_open_at_a_time() -> None:
    grabbing = Grabbing()
    for _ in range(300):
        grabbing.run_to(grabbing.clock.now + 0.1)
        assert len(grabbing.track.requests) == 1
    assert grabbing.track.cancelled == 6


@pytest.mark.parametrize(
    ("flowing", "muted", "no_keyframe"),
    [pytest.param(False, 3, 0, id="muted"), pytest.param(True, 0, 3, id="no key frame")],
)
def test_a_picture_not_taken_is_counted_with_its_reason(
    flowing: bool, muted: int, no_keyframe: int
) -> None:
    grabbing = Grabbing()
    grabbing.track.flowing = flowing
    grabbing.run_to(116)
    counters = grabbing.counters
    assert (counters.pictures_muted, counters.pictures_no_keyframe) == (muted, no_keyframe)
    assert {each.origin for each in grabbing.missing} == {ORIGIN}
    assert [each.due_ms - UTC_AT_ZERO_MS for each in grabbing.missing] == [
        100_000, 105_000, 110_000,
    ]  # fmt: skip
    assert grabbing.store.slices == []


def test_when_video_comes_back_a_picture_is_taken_at_once() -> None:
    grabbing = Grabbing()
    grabbing.grant()
    grabbing.track.flowing = False
    grabbing.run_to(112.5)
    grabbing.track.flowing = True
    grabbing.grant()
    grabbing.run_to(115.1)
    grabbing.grant()
    assert grabbing.taken() == [100.0, 112.5, 115.1]
    assert grabbing.counters.pictures_muted == 1


def test_a_full_pool_costs_the_picture_only() -> None:
    grabbing = Grabbing()
    grabbing.pool.is_full = True
    grabbing.grant()
    grabbing.pool.is_full = False
    grabbing.run_to(105)
    grabbing.grant()
    assert grabbing.taken() == [105.0]
    assert grabbing.counters.pictures_pool_full == 1


def test_an_undecodable_key_frame_is_counted() -> None:
    grabbing = Grabbing()
    grabbing.track.grant(Keyframe(VP8.decoding, b"", 100.0, 0))
    [(_, receiver)] = grabbing.pool.jobs
    receiver(UndecodableKeyframeError("torn"))
    assert grabbing.counters.pictures_undecodable == 1
    assert grabbing.missing == [
        PictureNotTaken(ORIGIN, UTC_AT_ZERO_MS + 100_000, PictureMissing.UNDECODABLE)
    ]
    assert grabbing.store.slices == []


def lose(grabbing: Grabbing) -> bool:
    """A key frame comes; if it is used, the process that decodes it dies. Whether it was used."""
    grabbing.track.grant(Keyframe(VP8.decoding, b"", grabbing.clock.now, 0))
    was_used = bool(grabbing.pool.jobs)
    for _, receiver in grabbing.pool.jobs:
        receiver(DeadlyKeyframeError("SIGSEGV"))
    grabbing.pool.jobs.clear()
    return was_used


def test_a_lost_picture_is_counted_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    grabbing = Grabbing()
    lose(grabbing)
    assert grabbing.counters.pictures_lost == 1
    told = capsys.readouterr().out
    for each in ("picture lost", "user_id=anchor", "codec=vp8", "SIGSEGV"):
        assert each in told


def test_a_track_that_costs_processes_is_tried_ever_more_rarely() -> None:
    """Else it would cost the pictures of others. Each picture that it does not give is counted."""
    grabbing = Grabbing()
    used = []
    for number in range(80):
        grabbing.run_to(100 + 5 * number)
        used.append(lose(grabbing))
    assert [number for number, was_used in enumerate(used) if was_used] == [0, 2, 6, 14, 30, 62]
    assert grabbing.counters.pictures_lost == 80


def test_a_picture_ends_the_suspicion() -> None:
    grabbing = Grabbing()
    lose(grabbing)
    grabbing.run_to(105)
    assert not lose(grabbing)
    for second in (110, 115):
        grabbing.run_to(second)
        grabbing.grant()
    assert grabbing.taken() == [110.0, 115.0]
    grabbing.run_to(120)
    lose(grabbing)
    grabbing.run_to(125)
    assert not lose(grabbing)
    grabbing.run_to(130)
    assert lose(grabbing)


def test_a_picture_that_no_process_could_make_is_no_reason_for_suspicion() -> None:
    grabbing = Grabbing()
    grabbing.track.grant(Keyframe(VP8.decoding, b"", 100.0, 0))
    [(_, receiver)] = grabbing.pool.jobs
    receiver(PictureLostError("no process"))
    grabbing.pool.jobs.clear()
    assert grabbing.counters.pictures_lost == 1
    grabbing.run_to(105)
    assert lose(grabbing)


def test_a_picture_in_the_making_when_the_grabber_closes_is_kept() -> None:
    """It was taken while the anchor was subscribed to; nothing more is asked for."""
    grabbing = Grabbing()
    grabbing.track.grant(Keyframe(VP8.decoding, b"", 100.0, 0))
    grabbing.run_to(105)
    grabbing.grabber.close()
    grabbing.pool.finish()
    assert len(grabbing.store.slices) == 1
    assert grabbing.track.requests == []


def test_a_key_frame_from_before_it_began_is_not_taken() -> None:
    """Another robot may have asked for it; the next one is taken, at the same due time."""
    grabbing = Grabbing(since=100.0)
    grabbing.track.grant(Keyframe(VP8.decoding, b"before", 99.99, 0))
    assert grabbing.pool.jobs == []
    assert [request.due for request in grabbing.track.requests] == [100.0 - PERIOD_S]
    grabbing.run_to(100.2)
    grabbing.grant()
    assert grabbing.taken() == [100.2]


def test_a_key_frame_that_was_kept_is_used_with_its_age_told() -> None:
    """Of a sender whose key frames come every 10 s, whatever it is asked for."""
    grabbing = Grabbing()
    grabbing.grant()
    grabbing.track.kept = Keyframe(VP8.decoding, b"kept", 103.0, 0)
    for second in (105.1, 110.1):
        grabbing.run_to(second)
        grabbing.pool.finish()
    assert grabbing.taken() == [100.0, 103.0]
    first, kept = (each.details for each in grabbing.store.slices)
    assert "age-ms" not in first
    assert kept["age-ms"] == 2000


def test_a_key_frame_that_serves_twice_is_the_same_as_before() -> None:
    grabbing = Grabbing()
    grabbing.grant()
    grabbing.run_to(107)
    late = Keyframe(VP8.decoding, b"late", 107.0, 0)
    grabbing.track.grant(late)
    grabbing.track.kept = late
    grabbing.run_to(110.1)
    grabbing.pool.finish()
    details = [each.details for each in grabbing.store.slices]
    assert [each.get("same-as-before") for each in details] == [None, None, 1]
    assert grabbing.taken() == [100.0, 107.0, 107.0]
