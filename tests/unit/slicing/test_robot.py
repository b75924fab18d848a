"""A robot among anchors that come, go and change."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cloudslice.codecs.h264 import H264
from cloudslice.faults import Faults
from cloudslice.rooms.base import LeaveCode, RoomListener
from cloudslice.slices import SliceKind
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.robot import Robot
from helpers.keyframes import color_bars, decode_picture, encode_keyframe
from helpers.slice_store import UTC_AT_ZERO_MS, ManualClock, MemoryStore
from helpers.tracks import ManualAnchor, ManualAudio, ManualVideo

AUDIO = SliceParams(audio=True, video=False)
BOTH = SliceParams(audio=True, video=True)
EVERYBODY = SubscriptionLists()


class Room:
    """A robot, its clock and what it leaves behind; anchors talk as long as they are there."""

    def __init__(
        self,
        pool: PicturePool,
        params: SliceParams = BOTH,
        lists: SubscriptionLists = EVERYBODY,
        max_anchors: int = 25,
    ) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.finished: list[LeaveCode] = []
        self.on_finished = self.finished.append
        self.talking: list[ManualAnchor] = []
        self.counters = SlicingCounters()
        self.robot = Robot(
            "task-1",
            params,
            lists,
            store=self.store,
            pictures=pool,
            due_times=DueTimes(),
            clock=self.clock,
            max_anchors=max_anchors,
            counters=self.counters,
            publish=self.counters.note,
            faults=Faults("test"),
            on_finished=lambda code: self.on_finished(code),
        )

    def join(self, user_id: str, *, video: bool = False, aux: bool = False) -> ManualAnchor:
        anchor = ManualAnchor(
            user_id, ManualAudio(), ManualVideo() if video else None, ManualVideo() if aux else None
        )
        self.talking.append(anchor)
        self.robot.on_anchor_joined(anchor)
        return anchor

    def leave(self, anchor: ManualAnchor) -> None:
        self.talking.remove(anchor)
        self.robot.on_anchor_left(anchor)

    def run(self, seconds: float) -> None:
        """Everybody talks; the robot is ticked every 100 ms."""
        for step in range(round(seconds * 50)):
            self.clock.now = round(self.clock.now + 0.02, 6)
            for anchor in self.talking:
                if anchor.audio is not None:
                    anchor.audio.send(self.clock.now)
            if step % 5 == 4:
                self.robot.tick(self.clock.now)

    def heard(self) -> dict[str, int]:
        """Milliseconds of finished audio by anchor."""
        durations: dict[str, int] = {}
        for stored in self.store.slices:
            if stored.origin.kind is SliceKind.AUDIO:
                user_id = stored.origin.user_id
                durations[user_id] = durations.get(user_id, 0) + (stored.duration_ms or 0)
        return durations


@pytest.fixture
async def pool() -> AsyncIterator[PicturePool]:
    with PicturePool(1) as pool:
        yield pool


def test_a_robot_is_a_room_listener(pool: PicturePool) -> None:
    listener: RoomListener = Room(pool).robot
    assert listener


def test_every_anchor_is_sliced_apart(pool: PicturePool) -> None:
    room = Room(pool, AUDIO)
    room.join("ann")
    room.run(5)
    room.join("bob")
    room.run(27)
    room.robot.stop()
    assert room.heard() == {"ann": 32_000, "bob": 27_000}
    assert {stored.origin.task_id for stored in room.store.slices} == {"task-1"}
    assert {stored.origin.extension for stored in room.store.slices} == {"ogg"}
    assert room.counters.audio_slices == 5


async def test_slices_say_what_the_server_calls_the_anchor() -> None:
    """If that is not its UserId."""
    with PicturePool(1) as pool:
        room = Room(pool)
        anchor = ManualAnchor("zhang--x", ManualAudio(), ManualVideo(), identity="张 zhang")
        room.talking.append(anchor)
        room.robot.on_anchor_joined(anchor)
        room.run(1)
        assert anchor.video is not None
        anchor.video.grant(encode_keyframe(H264, color_bars(96, 48), arrival=room.clock.now))
        async with asyncio.timeout(5):
            await room.store.has_picture.wait()
        room.robot.stop()
    assert {each.origin.kind for each in room.store.slices} == set(SliceKind)
    assert {each.origin.identity for each in room.store.slices} == {"张 zhang"}


async def test_pictures_are_taken_of_the_main_video() -> None:
    with PicturePool(1) as pool:
        room = Room(pool, replace(BOTH, image_format=ImageFormat.JPG))
        anchor = room.join("ann", video=True, aux=True)
        assert anchor.video is not None
        assert anchor.aux is not None
        room.run(0.1)
        assert anchor.aux.requests == []
        keyframe = encode_keyframe(H264, color_bars(96, 48), arrival=room.clock.now)
        anchor.video.grant(keyframe)
        async with asyncio.timeout(5):
            await room.store.has_picture.wait()
        room.robot.stop()
    [picture] = [each for each in room.store.slices if each.origin.kind is SliceKind.IMAGE]
    assert picture.start_utc_ms == UTC_AT_ZERO_MS + 100
    assert (picture.origin.user_id, picture.origin.extension) == ("ann", "jpg")
    assert decode_picture(bytes(picture.data)).shape == (48, 96, 3)


def test_the_screen_share_counts_only_while_there_is_no_main_video(pool: PicturePool) -> None:
    room = Room(pool)
    anchor = room.join("ann", aux=True)
    assert anchor.aux is not None
    assert len(anchor.aux.requests) == 1
    anchor.video = ManualVideo()
    room.robot.on_anchor_changed(anchor)
    assert (len(anchor.aux.requests), len(anchor.video.requests)) == (0, 1)
    anchor.video = None
    room.robot.on_anchor_changed(anchor)
    assert len(anchor.aux.requests) == 1
    room.robot.stop()
    assert anchor.aux.requests == []


@pytest.mark.parametrize(
    ("params", "audio_sinks", "video_requests"),
    [
        pytest.param(SliceParams(audio=True, video=False), 1, 0, id="audio"),
        pytest.param(SliceParams(audio=False, video=True), 0, 1, id="video"),
        pytest.param(SliceParams(audio=True, video=True), 1, 1, id="both"),
    ],
)
def test_only_what_the_slice_type_says_is_sliced(
    params: SliceParams, audio_sinks: int, video_requests: int, pool: PicturePool
) -> None:
    anchor = Room(pool, params).join("ann", video=True)
    assert anchor.audio is not None
    assert anchor.video is not None
    assert (len(anchor.audio.sinks), len(anchor.video.requests)) == (audio_sinks, video_requests)


def test_an_anchor_that_leaves_has_its_last_slice_closed(pool: PicturePool) -> None:
    room = Room(pool, AUDIO)
    anchor = room.join("ann")
    room.run(17.3)
    room.leave(anchor)
    assert [stored.duration_ms for stored in room.store.slices] == [15_000, 2_300]
    assert anchor.audio is not None
    assert anchor.audio.sinks == []


def test_a_track_that_is_replaced_is_another_stream(pool: PicturePool) -> None:
    room = Room(pool, AUDIO)
    anchor = room.join("ann")
    room.run(1)
    anchor.audio = ManualAudio()
    room.robot.on_anchor_changed(anchor)
    room.run(2)
    anchor.audio = None
    room.robot.on_anchor_changed(anchor)
    assert [stored.duration_ms for stored in room.store.slices] == [1000, 2000]


def test_a_change_elsewhere_leaves_a_running_slice_alone(pool: PicturePool) -> None:
    room = Room(pool)
    anchor = room.join("ann")
    room.run(1)
    anchor.video = ManualVideo()
    room.robot.on_anchor_changed(anchor)
    room.join("bob")
    room.run(1)
    room.robot.stop()
    assert [stored.duration_ms for stored in room.store.slices] == [2000, 1000]


def test_the_newer_self_of_an_anchor_replaces_the_older(pool: PicturePool) -> None:
    """In whichever order the room tells of the two."""
    room = Room(pool, AUDIO)
    older = room.join("ann")
    room.run(1)
    newer = room.join("ann")
    room.leave(older)
    room.run(2)
    assert newer.audio is not None
    assert len(newer.audio.sinks) == 1
    room.leave(newer)
    assert [stored.duration_ms for stored in room.store.slices] == [1000, 2000]


def test_new_lists_take_effect_on_running_streams(pool: PicturePool) -> None:
    room = Room(pool, BOTH)
    ann, bob = room.join("ann", video=True), room.join("bob", video=True)
    room.run(2)
    room.robot.set_lists(SubscriptionLists(audio_block=("ann",), video_allow=("a.*$",)))
    room.run(3)
    assert [(each.origin.user_id, each.duration_ms) for each in room.store.slices] == [
        ("ann", 2000),
        ("bob", None),
    ]
    assert ann.video is not None
    assert bob.video is not None
    assert (len(ann.video.requests), len(bob.video.requests)) == (1, 0)
    room.robot.set_lists(SubscriptionLists())
    room.run(1)
    room.robot.stop()
    assert room.heard() == {"ann": 3000, "bob": 6000}


def test_new_parameters_take_effect_on_running_streams(pool: PicturePool) -> None:
    """Of all anchors, and of those who come later."""
    room = Room(pool, replace(AUDIO, audio_slice_s=20))
    room.join("ann")
    room.run(5)
    room.robot.set_params(replace(AUDIO, audio_slice_s=15), room.clock.now)
    room.join("bob")
    room.run(31)
    room.robot.stop()
    lengths = {
        name: [s.duration_ms for s in room.store.slices if s.origin.user_id == name]
        for name in ("ann", "bob")
    }
    assert lengths == {"ann": [20_000, 15_000, 1000], "bob": [15_000, 15_000, 1000]}


def test_a_medium_can_be_added_and_taken_away(pool: PicturePool) -> None:
    """From the change on."""
    room = Room(pool, AUDIO)
    anchor = room.join("ann", video=True)
    assert anchor.video is not None
    room.run(5)
    room.robot.set_params(replace(BOTH, audio=False), room.clock.now)
    assert room.heard() == {"ann": 5000}
    assert len(anchor.video.requests) == 1
    room.run(5)
    room.robot.set_params(AUDIO, room.clock.now)
    assert anchor.video.requests == []
    room.run(5)
    room.robot.stop()
    assert room.heard() == {"ann": 10_000}


def test_another_idle_time_counts_from_when_the_room_became_empty(pool: PicturePool) -> None:
    room = Room(pool, replace(BOTH, max_idle_s=60))
    room.run(20)
    room.robot.set_params(replace(BOTH, max_idle_s=30), room.clock.now)
    room.run(9.9)
    assert room.finished == []
    room.run(0.2)
    assert room.finished == [LeaveCode.IDLE]


def test_surplus_anchors_wait_for_a_place(pool: PicturePool) -> None:
    room = Room(pool, AUDIO, max_anchors=2)
    ann = room.join("ann")
    room.join("bob")
    room.join("cat")
    room.join("dan")
    room.run(1)
    room.leave(ann)
    room.run(1)
    room.robot.stop()
    assert room.heard() == {"ann": 1000, "bob": 2000, "cat": 1000}


def test_who_is_not_subscribed_to_takes_no_place(pool: PicturePool) -> None:
    room = Room(pool, AUDIO, SubscriptionLists(audio_block=("ann",)), max_anchors=1)
    room.join("ann")
    room.join("bob")
    room.run(1)
    room.robot.stop()
    assert room.heard() == {"bob": 1000}


def test_an_empty_room_is_left_after_the_idle_time(pool: PicturePool) -> None:
    room = Room(pool, replace(BOTH, max_idle_s=5))
    room.run(4.9)
    assert room.finished == []
    room.run(0.2)
    assert room.finished == [LeaveCode.IDLE]
    room.run(10)
    assert room.finished == [LeaveCode.IDLE]


def test_the_idle_clock_stands_still_while_an_anchor_is_there(pool: PicturePool) -> None:
    """Even one that sends nothing, or is not subscribed to."""
    room = Room(pool, replace(BOTH, max_idle_s=5), SubscriptionLists(audio_allow=("bob",)))
    room.run(4)
    anchor = room.join("ann")
    anchor.audio = None
    room.run(60)
    room.leave(anchor)
    room.run(4.9)
    assert room.finished == []
    room.run(0.2)
    assert room.finished == [LeaveCode.IDLE]


def test_an_evicted_robot_closes_its_slices_first(pool: PicturePool) -> None:
    room = Room(pool, AUDIO)
    anchor = room.join("ann")
    room.run(1)
    heard_at_the_end: list[dict[str, int]] = []
    room.on_finished = lambda _: heard_at_the_end.append(room.heard())
    room.robot.on_evicted(LeaveCode.ROOM_DISMISSED)
    assert heard_at_the_end == [{"ann": 1000}]
    assert anchor.audio is not None
    assert anchor.audio.sinks == []


def test_the_end_is_told_once(pool: PicturePool) -> None:
    room = Room(pool, AUDIO)
    room.robot.on_evicted(LeaveCode.REMOVED)
    room.robot.on_evicted(LeaveCode.ROOM_DISMISSED)
    room.run(60)
    assert room.finished == [LeaveCode.REMOVED]


def test_a_stopped_robot_hears_nothing_more(pool: PicturePool) -> None:
    room = Room(pool, AUDIO)
    anchor = room.join("ann")
    room.run(1)
    room.robot.stop()
    room.robot.stop()
    room.robot.set_lists(EVERYBODY)
    room.robot.on_anchor_changed(anchor)
    room.join("bob")
    room.run(100)
    room.leave(anchor)
    assert room.heard() == {"ann": 1000}
    assert room.finished == []


def test_it_is_slicing_while_a_subscribed_stream_arrives(pool: PicturePool) -> None:
    """Between Idle and InProgress."""
    room = Room(pool, AUDIO)
    assert not room.robot.is_slicing
    anchor = room.join("ann")
    assert not room.robot.is_slicing
    room.run(1)
    assert room.robot.is_slicing
    room.talking.clear()
    room.run(20)
    assert not room.robot.is_slicing
    room.robot.on_anchor_left(anchor)


@pytest.mark.parametrize("flowing", [True, False])
def test_video_that_flows_is_being_sliced(flowing: bool, pool: PicturePool) -> None:
    room = Room(pool)
    anchor = room.join("ann", video=True)
    assert anchor.video is not None
    anchor.video.flowing = flowing
    assert room.robot.is_slicing is flowing
