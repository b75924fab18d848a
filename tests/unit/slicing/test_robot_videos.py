"""Of a camera and a screen share, pictures are taken of what flows, once in each interval."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from cloudslice.codecs.vp8 import VP8
from cloudslice.faults import Faults
from cloudslice.media.tracks import Description, Keyframe, KeyframeReceiver
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.picture import Picture, UndecodableKeyframeError
from cloudslice.slicing.robot import Robot
from helpers.slice_store import ManualClock, MemoryStore
from helpers.tracks import ManualRequest, ManualVideo

INTERVAL_S = 5


class InstantPool:
    """Makes a picture of a key frame's bytes at once."""

    def encode(
        self,
        keyframe: Keyframe,
        _format: object,
        receiver: Callable[[Picture | UndecodableKeyframeError], None],
    ) -> bool:
        receiver(Picture(keyframe.data, 640, 360))
        return True


@dataclass(eq=False)
class TimedVideo:
    """Sends a packet every `every_s` seconds of a clock while it is on, and answers a request for a
    key frame with the next one."""

    name: str
    clock: ManualClock
    every_s: float = 0.1
    is_on: bool = True
    inner: ManualVideo = field(default_factory=ManualVideo)
    last_packet: float = float("-inf")

    @property
    def flowing(self) -> bool:
        return self.clock.now - self.last_packet < 2.0

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> ManualRequest:
        return self.inner.request_keyframe(receiver, due)

    def describe(self, keyframe: Keyframe) -> Description:
        return self.inner.describe(keyframe)

    def run(self) -> None:
        now = self.clock.now
        if self.is_on and now - self.last_packet >= self.every_s - 1e-6:
            self.last_packet = now
            if self.inner.requests and now >= self.inner.requests[0].due:
                self.inner.grant(Keyframe(VP8.decoding, self.name.encode(), now, 0))


@dataclass(eq=False)
class TwoVideos:
    """An Anchor with a camera and a screen share."""

    video: TimedVideo | None
    aux: TimedVideo | None
    user_id: str = "ann"
    audio: None = None
    identity: str = ""


class Stage:
    """A robot, an anchor, and the pictures that were taken: the second and of what."""

    def __init__(self, *, camera_every_s: float = 0.1, is_camera_on: bool = True) -> None:
        self.clock = ManualClock()
        self.clock.now = 100.0
        self.store = MemoryStore()
        self.counters = SlicingCounters()
        self.robot = Robot(
            "task-1",
            SliceParams(audio=False, video=True, video_interval_s=INTERVAL_S),
            SubscriptionLists(),
            store=self.store,
            pictures=InstantPool(),  # type: ignore[arg-type]
            due_times=DueTimes(),
            clock=self.clock,
            max_anchors=25,
            counters=self.counters,
            publish=self.counters.note,
            faults=Faults("test"),
            on_finished=lambda code: None,
        )
        self.camera = TimedVideo("camera", self.clock, camera_every_s, is_camera_on)
        self.screen = TimedVideo("screen", self.clock)
        self.anchor = TwoVideos(self.camera, self.screen)
        self.robot.on_anchor_joined(self.anchor)

    def run(self, seconds: float) -> list[str]:
        """Tick every 100 ms; of what pictures were taken meanwhile."""
        before = len(self.store.slices)
        for _ in range(round(seconds * 10)):
            self.clock.now = round(self.clock.now + 0.1, 6)
            for each in (self.camera, self.screen):
                each.run()
            self.robot.tick(self.clock.now)
        # A text stands at byte 33 of a PNG, and behind what is shorter.
        stored = self.store.slices[before:]
        return [each.data.partition(b"\0")[0].decode() for each in stored]

    @property
    def muted(self) -> int:
        return self.counters.pictures_muted

    def dues(self) -> list[int]:
        """When the pictures were due: milliseconds."""
        return [int(each.details["due-ms"]) for each in self.store.slices]


def test_the_screen_is_taken_while_the_camera_is_off() -> None:
    """And the camera again when it is on; every interval has one picture, at its due time."""
    stage = Stage()
    assert set(stage.run(20)) == {"camera"}
    stage.camera.is_on = False
    switching, after = stage.run(INTERVAL_S), stage.run(20)
    assert len(switching) == 1
    assert after == ["screen"] * 4
    stage.camera.is_on = True
    switching, after = stage.run(INTERVAL_S), stage.run(20)
    assert len(switching) == 1
    assert after == ["camera"] * 4
    _first, second, *others = stage.dues()
    assert others == [second + 5000 * (number + 1) for number in range(len(others))]
    assert stage.muted == 0
    assert stage.counters.pictures_no_keyframe == 0


@pytest.mark.parametrize("before_due_s", [0.2, 1.0, 1.8, 2.2, 2.8, 4.8])
def test_no_interval_is_left_out_whenever_the_camera_goes_off(before_due_s: float) -> None:
    """A picture that was asked of the camera in vain is asked of the screen."""
    stage = Stage()
    stage.run(20)
    next_due = (stage.dues()[-1] - stage.clock.utc_ms()) / 1000 + INTERVAL_S
    stage.run(next_due + INTERVAL_S - before_due_s)
    stage.camera.is_on = False
    stage.run(30)
    assert {
        round((b - a) / 1000) for a, b in zip(stage.dues()[1:], stage.dues()[2:], strict=False)
    } == {5}
    assert (stage.muted, stage.counters.pictures_no_keyframe) == (0, 0)


def test_a_camera_that_was_never_on_is_not_waited_for() -> None:
    """The first picture is of the screen, a second after it was due."""
    stage = Stage(is_camera_on=False)
    assert stage.run(0.9) == []
    assert stage.run(0.3) == ["screen"]
    assert not stage.camera.flowing
    assert stage.robot.is_slicing


@pytest.mark.parametrize("every_s", [1.0, 2.5, 2.9])
def test_a_slow_camera_is_not_left(every_s: float) -> None:
    """Chromium repeats a still picture once a second."""
    stage = Stage(camera_every_s=every_s)
    assert set(stage.run(60)) == {"camera"}


@pytest.mark.parametrize("every_s", [4.0, 6.0, 9.0])
def test_a_camera_that_hardly_sends_does_not_take_turns_with_the_screen(every_s: float) -> None:
    stage = Stage(camera_every_s=every_s)
    stage.run(10)
    assert set(stage.run(60)) == {"screen"}


def test_while_neither_flows_the_camera_is_waited_for() -> None:
    """Each interval counts as muted once; then the first that flows is taken."""
    stage = Stage()
    stage.run(20)
    stage.camera.is_on = False
    stage.run(10)
    stage.screen.is_on = False
    stage.run(10)
    before = stage.muted
    assert stage.run(30) == []
    assert stage.muted - before == 6
    assert [len(each.inner.requests) for each in (stage.camera, stage.screen)] == [1, 0]
    assert not stage.robot.is_slicing
    stage.screen.is_on = True
    assert "screen" in stage.run(INTERVAL_S)


def test_a_screen_that_stops_leaves_the_camera_at_once() -> None:
    stage = Stage(is_camera_on=False)
    stage.run(10)
    stage.screen.is_on = False
    stage.run(1)
    stage.camera.is_on = True
    assert stage.run(10)[-1] == "camera"


def test_a_camera_that_is_added_takes_the_next_picture() -> None:
    """Not one more: the due times go on."""
    stage = Stage()
    stage.anchor.video = None
    stage.robot.on_anchor_changed(stage.anchor)
    assert set(stage.run(20)) == {"screen"}
    stage.anchor.video = stage.camera
    stage.robot.on_anchor_changed(stage.anchor)
    assert stage.run(20) == ["camera"] * 4
    assert {b - a for a, b in zip(stage.dues()[1:], stage.dues()[2:], strict=False)} == {5000}
