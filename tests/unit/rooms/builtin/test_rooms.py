"""Robots hear who is in their room, whoever comes, goes, fails or is replaced."""

import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import pytest

from cloudslice.config import RtcSettings
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.rooms.base import Anchor, LeaveCode, RoomEntryError
from cloudslice.rooms.builtin.connecting import TooManyConnectingError
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.rooms.builtin.rooms import BuiltinRooms, UserIdTakenError
from cloudslice.rooms.management import RoomNotFoundError
from cloudslice.tick import Tick
from cloudslice.webrtc.candidates import IceCredentials
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.streams import Streams
from cloudslice.webrtc.udp.port import UdpPort
from helpers.media_port import media_port
from helpers.peer import Peer
from helpers.room_observer import RecordingObserver
from helpers.rtp import RecordingSink
from helpers.slice_store import ManualClock
from helpers.udp_peer import UdpPeer

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)
SAME_NAME = RoomKey(1, "150", RoomIdType.STRING)


@dataclass
class Robot:
    """A RoomListener that keeps what it hears; a broken one raises besides."""

    is_broken: bool = False
    heard: list[tuple[str, object]] = field(default_factory=list)
    anchors: dict[str, Anchor] = field(default_factory=dict)

    def on_anchor_joined(self, anchor: Anchor) -> None:
        self.anchors[anchor.user_id] = anchor
        self._hear("joined", anchor.user_id)

    def on_anchor_changed(self, anchor: Anchor) -> None:
        self._hear("changed", anchor.user_id)

    def on_anchor_left(self, anchor: Anchor) -> None:
        self._hear("left", anchor.user_id)

    def on_evicted(self, code: LeaveCode) -> None:
        self._hear("evicted", code)

    def _hear(self, what: str, who: object) -> None:
        self.heard.append((what, who))
        if self.is_broken:
            raise RuntimeError("a bug in a robot")


class House:
    """Rooms on a real port, read by hand, with time that stands still."""

    def __init__(self, port: UdpPort, tick: Tick, clock: ManualClock) -> None:
        self.clock = clock
        self.port = port
        self.tick = tick
        self.observer = RecordingObserver()
        self.use(RtcSettings())
        self.peers: list[UdpPeer] = []

    def use(self, settings: RtcSettings) -> None:
        """New rooms on the same port."""
        self.rooms = BuiltinRooms(self.port, settings, self.clock, self.tick, self.observer.bus)

    def publish(
        self,
        user_id: str,
        *kinds: TrackKind,
        room: RoomKey = ROOM,
    ) -> tuple[Publication, UdpPeer]:
        peer = Peer(kinds or (TrackKind.AUDIO, TrackKind.VIDEO))
        offer = parse_remote_description(peer.offer)
        publication, answer = self.rooms.publish(room, user_id, offer)
        udp = UdpPeer(self.port, peer, answer, host="127.0.0.1")
        self.peers.append(udp)
        return publication, udp

    def join(self, user_id: str, *kinds: TrackKind, room: RoomKey = ROOM) -> Publication:
        publication, udp = self.publish(user_id, *kinds, room=room)
        udp.connect()
        return publication


@pytest.fixture
def peers() -> Iterator[list[UdpPeer]]:
    opened: list[UdpPeer] = []
    yield opened
    for each in opened:
        each.close()


@pytest.fixture
async def house(peers: list[UdpPeer]) -> AsyncIterator[House]:
    clock = ManualClock()
    with media_port(clock, "127.0.0.1") as (port, tick):
        house = House(port, tick, clock)
        house.peers = peers
        yield house


async def test_a_robot_hears_of_those_who_are_there_and_who_come(house: House) -> None:
    """Once each; an anchor is there when its media can come."""
    house.join("early")
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    _publication, late = house.publish("late")
    assert robot.heard == [("joined", "early")]
    late.connect()
    assert robot.heard == [("joined", "early"), ("joined", "late")]


async def test_an_anchor_has_the_tracks_that_it_offered(house: House) -> None:
    """Others are None."""
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    house.join("speaker", TrackKind.AUDIO)
    house.join("screen", TrackKind.VIDEO, TrackKind.AUX)
    speaker, screen = robot.anchors["speaker"], robot.anchors["screen"]
    assert speaker.audio is not None
    assert (speaker.video, speaker.aux) == (None, None)
    assert screen.audio is None
    assert screen.video is not None
    assert screen.aux is not None
    assert screen.video is not screen.aux


async def test_leaving_is_heard(house: House) -> None:
    """By DELETE, by the peer's goodbye, and by its silence."""
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    deleted = house.join("deleted")
    house.join("goodbye")
    house.join("silent")
    house.rooms.end([deleted])
    house.peers[1].peer.close()
    house.peers[1].exchange()
    assert robot.heard[3:] == [("left", "deleted"), ("left", "goodbye")]
    house.clock.now += 15.5
    house.port.tick(house.clock.now)
    assert robot.heard[5:] == [("left", "silent")]
    assert house.rooms.anchor_count == 0


async def rejoin(house: House, _publication: Publication) -> None:
    house.join("anchor")


async def delete(house: House, publication: Publication) -> None:
    house.rooms.end([publication])


async def remove(house: House, _publication: Publication) -> None:
    await house.rooms.remove_users(ROOM, ["anchor"])


async def dismiss(house: House, _publication: Publication) -> None:
    await house.rooms.dismiss(ROOM)


async def stop(house: House, _publication: Publication) -> None:
    house.rooms.close()


@pytest.mark.parametrize("end", [delete, rejoin, remove, dismiss, stop])
async def test_what_came_before_the_end_is_heard(
    house: House, end: Callable[[House, Publication], Awaitable[None]]
) -> None:
    """Whoever ends it, to the last packet, even if one before it is missing."""
    publication, sink, udp = await listen(house, "anchor")
    for number in (0, 1, 3):
        udp.socket.send(udp.peer.rtp(TrackKind.AUDIO, number, 960 * number, b"%d" % number))
    await end(house, publication)
    assert sink.payloads == [b"0", b"1", b"3"]


async def test_what_came_before_a_robot_leaves_is_heard(house: House) -> None:
    """Of its room's anchors; of the others it can wait."""
    robot = Robot()
    attendance = await house.rooms.enter(ROOM, "robot", robot)
    _publication, sink, udp = await listen(house, "anchor")
    _publication, other_sink, other = await listen(house, "other", room=SAME_NAME)
    for each in (udp, other):
        each.socket.send(each.peer.rtp(TrackKind.AUDIO, 0, 0, b"0"))
    attendance.leave()
    assert sink.payloads == [b"0"]
    assert other_sink.payloads == []
    house.clock.now += 0.5
    house.port.tick(house.clock.now)
    assert other_sink.payloads == [b"0"]


async def listen(
    house: House, user_id: str, room: RoomKey = ROOM
) -> tuple[Publication, RecordingSink, UdpPeer]:
    """Have an anchor join, and hear its audio."""
    publication, udp = house.publish(user_id, room=room)
    udp.connect()
    sink = RecordingSink()
    assert publication.audio is not None
    publication.audio.add_sink(sink)
    return publication, sink, udp


async def test_the_newest_of_a_user_id_stays(house: House) -> None:
    """The older one leaves when the newer one's media can come, not before."""
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    house.join("anchor")
    _publication, newer = house.publish("anchor")
    assert robot.heard == [("joined", "anchor")]
    newer.connect()
    assert robot.heard == [("joined", "anchor"), ("left", "anchor"), ("joined", "anchor")]
    assert house.rooms.anchor_count == 1


async def test_an_older_one_on_its_way_never_arrives(house: House) -> None:
    """Even if it would connect after the newer one."""
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    older, _udp = house.publish("anchor")
    newer = house.join("anchor")
    assert house.rooms.publication(older.publication_id) is None
    assert house.rooms.publication(newer.publication_id) is newer
    assert robot.heard == [("joined", "anchor")]


async def test_a_session_that_never_connects_is_gone_after_20_s(house: House) -> None:
    """With what it held: also without a run of the garbage collector."""
    publication, _udp = house.publish("anchor")
    dtls = weakref.ref(publication.connection.transport._dtls)
    publication_id = publication.publication_id
    del publication
    house.clock.now += 19.9
    house.port.tick(house.clock.now)
    assert house.rooms.publication(publication_id) is not None
    gc.disable()
    try:
        house.clock.now += 0.2
        house.port.tick(house.clock.now)
        assert house.rooms.publication(publication_id) is None
        assert not house.rooms.holds_user(ROOM, "anchor")
        assert dtls() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("end", [delete, rejoin, remove, dismiss])
async def test_who_has_arrived_or_is_gone_counts_no_more_as_on_his_way(
    house: House, end: Callable[[House, Publication], Awaitable[None]]
) -> None:
    """There is one place, and it is free again each time."""
    house.use(RtcSettings(connecting_per_user=1))
    for _ in range(3):
        publication = house.join("anchor")
        house.publish("anchor", room=SAME_NAME)
        with pytest.raises(TooManyConnectingError):
            house.publish("anchor", room=RoomKey(1, "151", RoomIdType.NUMBER))
        await house.rooms.remove_users(ROOM, ["anchor"])
        house.rooms.end(list(house.rooms._publications.values()))
        publication, _udp = house.publish("anchor")
        with pytest.raises(TooManyConnectingError):
            house.publish("anchor", room=SAME_NAME)
        house.rooms.end([publication])
        publication = house.join("anchor")
        await end(house, publication)
        house.rooms.end(list(house.rooms._publications.values()))


async def test_rooms_are_told_apart_by_type(house: House) -> None:
    """Room 1 and room "1" are two."""
    robot = Robot()
    await house.rooms.enter(SAME_NAME, "robot", robot)
    house.join("anchor")
    assert robot.heard == []
    assert house.rooms.holds_user(ROOM, "anchor")
    assert not house.rooms.holds_user(SAME_NAME, "anchor")


async def test_a_newer_robot_replaces_its_older_self(house: House) -> None:
    """LeaveCode 101; the older one's late leaving does not harm the newer one."""
    house.join("anchor")
    older, newer = Robot(), Robot()
    attendance = await house.rooms.enter(ROOM, "robot", older)
    await house.rooms.enter(ROOM, "robot", newer)
    attendance.leave()
    house.join("another")
    assert older.heard == [("joined", "anchor"), ("evicted", LeaveCode.REPLACED)]
    assert newer.heard == [("joined", "anchor"), ("joined", "another")]


async def test_a_robot_that_left_hears_nothing_more(house: House) -> None:
    """Leaving twice is harmless; an empty room is gone."""
    robot = Robot()
    attendance = await house.rooms.enter(ROOM, "robot", robot)
    assert house.rooms.is_occupied(ROOM)
    attendance.leave()
    attendance.leave()
    assert not house.rooms.is_occupied(ROOM)
    house.join("anchor")
    assert robot.heard == []


async def test_a_robot_cannot_take_the_user_id_of_an_anchor_on_its_way(house: House) -> None:
    """The anchor was let in between the task's admission and the robot's entry."""
    house.publish("alice")
    with pytest.raises(RoomEntryError, match="alice"):
        await house.rooms.enter(ROOM, "alice", Robot())
    assert not house.rooms.is_occupied(ROOM)


async def test_an_anchor_cannot_take_a_robots_user_id(house: House) -> None:
    """In that room; in another one it can."""
    await house.rooms.enter(ROOM, "robot", Robot())
    with pytest.raises(UserIdTakenError):
        house.publish("robot")
    house.join("robot", room=SAME_NAME)


async def test_members_are_known_from_their_offer_on(house: House) -> None:
    """holds_user tells a robot's UserId from an anchor's that is on its way."""
    publication, udp = house.publish("anchor")
    assert house.rooms.holds_user(ROOM, "anchor")
    assert not house.rooms.is_occupied(ROOM)
    udp.connect()
    assert house.rooms.holds_user(ROOM, "anchor")
    publication.connection.close()
    assert not house.rooms.holds_user(ROOM, "anchor")
    assert not house.rooms.is_occupied(ROOM)


async def test_removed_users_are_out(house: House) -> None:
    """Anchors, those on their way, and robots; the others stay."""
    robot, other = Robot(), Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    await house.rooms.enter(ROOM, "other", other)
    house.join("anchor")
    house.join("stays")
    house.publish("late")
    await house.rooms.remove_users(ROOM, ["anchor", "late", "robot", "unknown"])
    assert other.heard[2:] == [("left", "anchor")]
    assert robot.heard[-1] == ("evicted", LeaveCode.REMOVED)
    assert not house.rooms.holds_user(ROOM, "late")
    assert house.rooms.holds_user(ROOM, "stays")
    with pytest.raises(RoomNotFoundError):
        await house.rooms.remove_users(SAME_NAME, ["stays"])


async def test_a_dismissed_room_is_gone(house: House) -> None:
    """With everybody in it and on the way into it; others are not touched."""
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    house.join("anchor")
    house.publish("late")
    house.join("anchor", room=SAME_NAME)
    await house.rooms.dismiss(ROOM)
    assert robot.heard[-1] == ("evicted", LeaveCode.ROOM_DISMISSED)
    assert not house.rooms.is_occupied(ROOM)
    assert not house.rooms.holds_user(ROOM, "late")
    assert house.rooms.is_occupied(SAME_NAME)
    with pytest.raises(RoomNotFoundError):
        await house.rooms.dismiss(ROOM)


async def test_a_broken_robot_disturbs_no_other(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is logged, and the anchor's session goes on."""
    broken, sound = Robot(is_broken=True), Robot()
    await house.rooms.enter(ROOM, "broken", broken)
    await house.rooms.enter(ROOM, "sound", sound)
    publication = house.join("anchor")
    publication.connection.close()
    await house.rooms.enter(ROOM, "broken", Robot())
    await house.rooms.enter(ROOM, "second", Robot(is_broken=True))
    await house.rooms.remove_users(ROOM, ["second"])
    assert sound.heard == [("joined", "anchor"), ("left", "anchor")]
    assert broken.heard[-1] == ("evicted", LeaveCode.REPLACED)
    assert house.port.errors == 0
    assert "a bug in a robot" in capsys.readouterr().out


async def test_a_restarted_session_is_found_by_its_new_name(house: House) -> None:
    """Checks with the new credentials are answered; while its old path is in use, those with the
    former ones, too."""
    publication, udp = house.publish("anchor")
    udp.connect()
    ice = publication.connection.transport.ice
    former = ice.local
    publication.connection.restart_ice(IceCredentials("theirs", "password-of-24-characters"))
    assert set(house.port.owners._by_ufrag) == {former.ufrag, ice.local.ufrag}


async def test_of_many_that_are_ended_one_may_break(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone, too, and so are the others."""
    for user_id in ("first", "second"):
        house.join(user_id)
    stop, broken = Streams.stop, []

    def fail_once(streams: Streams) -> None:
        if not broken:
            broken.append(streams)
            raise ZeroDivisionError("a bug")
        stop(streams)

    monkeypatch.setattr(Streams, "stop", fail_once)
    house.rooms.close()
    assert house.rooms.anchor_count == 0
    assert house.rooms.faults.errors == 1


async def test_robots_and_anchors_leave_though_the_port_is_broken(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come on the last tick's way is lost, and nobody stays."""
    house.join("anchor")
    deleted, removed = Robot(), Robot()
    attendance = await house.rooms.enter(ROOM, "deleted", deleted)
    await house.rooms.enter(ROOM, "removed", removed)

    def fail(_peers: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(house.port, "catch_up", fail)
    attendance.leave()
    await house.rooms.remove_users(ROOM, ["removed", "anchor"])
    assert removed.heard == [("joined", "anchor"), ("evicted", LeaveCode.REMOVED)]
    assert deleted.heard == [("joined", "anchor")]
    assert not house.rooms.is_occupied(ROOM)
    assert house.rooms.faults.errors == 3


async def test_robots_hear_that_an_anchor_left_whatever_breaks_beside_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    publication = house.join("anchor")
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    monkeypatch.delattr(PeerConnection, "counts")
    house.rooms.end([publication])
    assert robot.heard == [("joined", "anchor"), ("left", "anchor")]
    assert house.rooms.anchor_count == 0


async def test_a_robot_that_enters_once_more_does_not_put_itself_out(house: House) -> None:
    """As after a try that broke half way."""
    robot = Robot()
    await house.rooms.enter(ROOM, "robot", robot)
    await house.rooms.enter(ROOM, "robot", robot)
    assert robot.heard == []
