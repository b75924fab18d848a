"""A fault at one anchor ends what it befell at that anchor. All others go on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from cloudslice.faults import Faults
from cloudslice.media.tracks import AudioSink, OpusRun
from cloudslice.rooms.base import LeaveCode
from cloudslice.slices import SliceOrigin
from cloudslice.slicing.audio.slicer import AudioSlicer
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.grabber import FrameGrabber
from cloudslice.slicing.robot import Robot
from helpers.slice_store import ManualClock, MemoryStore, StoredSlice
from helpers.tracks import ManualAnchor, ManualAudio, ManualVideo

BROKEN, SOUND = "ann", "bob"
MAX_IDLE_S = 5


@dataclass(eq=False)
class FencedAudio(ManualAudio):
    """Has a fence for each sink, as the receivers of media have."""

    errors: int = 0

    def send(self, arrival: float) -> None:
        run = OpusRun.of_one(b"\xf8\x01\x02", self.timestamp, arrival)
        for sink in self.sinks:
            try:
                sink.on_opus(run)
            except ZeroDivisionError:
                self.errors += 1
        self.timestamp += 960


class UnheardAudio(FencedAudio):
    """Takes no sinks."""

    def add_sink(self, sink: AudioSink) -> None:
        raise ZeroDivisionError("a bug")


class StickyAudio(FencedAudio):
    """Keeps its sinks."""

    def remove_sink(self, sink: AudioSink) -> None:
        raise ZeroDivisionError("a bug")


@dataclass
class Stage:
    """A robot with a clock that is moved by hand; everybody talks."""

    clock: ManualClock = field(default_factory=ManualClock)
    store: MemoryStore = field(default_factory=MemoryStore)
    faults: Faults = field(default_factory=lambda: Faults("test"))
    finished: list[LeaveCode] = field(default_factory=list)
    anchors: list[ManualAnchor] = field(default_factory=list)
    counters: SlicingCounters = field(default_factory=SlicingCounters)

    def __post_init__(self) -> None:
        self.robot = Robot(
            "task-1",
            SliceParams(audio=True, video=True, max_idle_s=MAX_IDLE_S),
            SubscriptionLists(),
            store=self.store,
            pictures=None,  # type: ignore[arg-type]  # no key frame ever comes
            due_times=DueTimes(),
            clock=self.clock,
            max_anchors=25,
            counters=self.counters,
            publish=self.counters.note,
            faults=self.faults,
            on_finished=self.finished.append,
        )

    def join(self, user_id: str, audio: ManualAudio | None = None) -> ManualAnchor:
        anchor = ManualAnchor(user_id, audio or FencedAudio(), ManualVideo())
        self.anchors.append(anchor)
        self.robot.on_anchor_joined(anchor)
        return anchor

    def join_both(self) -> tuple[ManualAnchor, ManualAnchor]:
        return self.join(BROKEN), self.join(SOUND)

    def run(self, seconds: float) -> None:
        for step in range(round(seconds * 50)):
            self.clock.now = round(self.clock.now + 0.02, 6)
            for anchor in self.anchors:
                if anchor.audio is not None:
                    anchor.audio.send(self.clock.now)
            if step % 5 == 4:
                self.robot.tick(self.clock.now)

    def slices_of(self, user_id: str) -> list[StoredSlice]:
        return [each for each in self.store.slices if each.origin.user_id == user_id]

    def durations_of(self, user_id: str) -> list[int | None]:
        return [each.duration_ms for each in self.slices_of(user_id)]


def break_for(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, user_id: str = BROKEN
) -> None:
    """Have a step raise what nobody foresaw, for one anchor."""
    step: Callable[..., Any] = getattr(owner, name)

    def broken(self: Any, *arguments: Any, **named: Any) -> Any:
        origin: SliceOrigin = self.origin if owner is StoredSlice else self._origin
        if origin.user_id == user_id:
            raise ZeroDivisionError("a bug")
        return step(self, *arguments, **named)

    monkeypatch.setattr(owner, name, broken)


def is_detached(anchor: ManualAnchor) -> bool:
    assert anchor.audio is not None
    assert anchor.video is not None
    return not anchor.audio.sinks and not anchor.video.requests


@pytest.mark.parametrize(
    ("owner", "step"), [(AudioSlicer, "_close_slice"), (StoredSlice, "finish")]
)
def test_a_stop_detaches_all_though_one_slice_cannot_be_closed(
    monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    """The broken slice is kept as far as it was written."""
    stage = Stage()
    broken, sound = stage.join_both()
    stage.run(2)
    break_for(monkeypatch, owner, step)
    stage.robot.stop()
    assert is_detached(broken)
    assert is_detached(sound)
    stage.run(20)
    assert stage.durations_of(SOUND) == [2000]
    assert [each.abandoned for each in stage.slices_of(BROKEN)] == [
        "a fault of the server cut it off"
    ]
    assert stage.faults.errors == 1


def test_nobody_is_heard_after_a_stop_though_a_track_keeps_its_sink() -> None:
    stage = Stage()
    stage.join(BROKEN, StickyAudio())
    stage.join(SOUND)
    stage.run(1)
    stage.robot.stop()
    stage.run(20)
    assert stage.durations_of(BROKEN) == [1000]
    assert stage.durations_of(SOUND) == [1000]
    assert stage.faults.errors == 1


def test_pictures_stop_though_due_times_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    anchors = stage.join_both()
    monkeypatch.delattr(DueTimes, "leave")
    stage.robot.stop()
    assert [is_detached(each) for each in anchors] == [True, True]
    assert stage.faults.errors == 2


@pytest.mark.parametrize("step", ["tick", "close"])
@pytest.mark.parametrize("owner", [AudioSlicer, FrameGrabber])
def test_a_fault_at_one_anchor_is_not_felt_by_the_others(
    monkeypatch: pytest.MonkeyPatch, owner: type, step: str
) -> None:
    """Neither on ticks nor when lists change."""
    stage = Stage()
    break_for(monkeypatch, owner, step)
    _broken, sound = stage.join_both()
    stage.run(1)
    stage.anchors.remove(sound)
    stage.run(20)
    assert stage.durations_of(SOUND) == [1000]
    assert stage.counters.pictures_no_keyframe >= 1
    stage.robot.set_lists(SubscriptionLists(audio_block=(BROKEN,), video_block=(BROKEN,)))
    late = stage.join("cat")
    stage.run(1)
    stage.robot.stop()
    assert stage.durations_of("cat") == [1000]
    assert is_detached(late)
    assert stage.faults.errors >= 1


def test_a_track_that_takes_no_sink_keeps_no_other_from_being_sliced() -> None:
    stage = Stage()
    broken = stage.join(BROKEN, UnheardAudio())
    sound = stage.join(SOUND)
    for anchor in (broken, sound):
        assert anchor.video is not None
        assert len(anchor.video.requests) == 1
    stage.run(1)
    stage.robot.stop()
    assert stage.durations_of(SOUND) == [1000]
    assert is_detached(broken)


@pytest.mark.parametrize("step", ["tick", "close"])
def test_an_idle_robot_leaves_though_a_slice_is_broken(
    monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    stage = Stage()
    broken = stage.join(BROKEN)
    stage.run(1)
    break_for(monkeypatch, AudioSlicer, step)
    stage.anchors.remove(broken)
    stage.robot.on_anchor_left(broken)
    stage.run(MAX_IDLE_S + 1)
    assert stage.finished == [LeaveCode.IDLE]


def test_a_robot_that_is_evicted_says_so_though_a_slice_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage()
    stage.join_both()
    stage.run(1)
    break_for(monkeypatch, AudioSlicer, "close")
    stage.robot.on_evicted(LeaveCode.ROOM_DISMISSED)
    assert stage.finished == [LeaveCode.ROOM_DISMISSED]
    assert stage.durations_of(SOUND) == [1000]


def test_a_slice_that_cannot_be_finished_ends_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one begins with the next packet, and the broken one is kept as far as it goes."""
    stage = Stage()
    anchor = stage.join(BROKEN)
    with monkeypatch.context() as patch:
        break_for(patch, StoredSlice, "finish")
        stage.run(15.1)
    stage.run(15)
    stage.robot.stop()
    broken, *others = stage.slices_of(BROKEN)
    assert broken.abandoned
    assert [each.duration_ms for each in others] == [15_000, 100]
    assert isinstance(anchor.audio, FencedAudio)
    assert anchor.audio.errors == 1
