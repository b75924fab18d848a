"""What an observer of builtin rooms hears of anchors with real ICE, DTLS and SRTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from cloudslice.config import RtcSettings
from cloudslice.events import ExitReason
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.webrtc.remote_description import parse_remote_description
from helpers.media_port import media_port
from helpers.peer import Peer
from helpers.room_observer import RecordingObserver
from helpers.slice_store import ManualClock
from helpers.udp_peer import UdpPeer

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)
AUDIO, VIDEO = TrackKind.AUDIO, TrackKind.VIDEO


@dataclass
class Anchor:
    """An anchor in the room; the test moves its time and sends its packets."""

    rooms: BuiltinRooms
    observer: RecordingObserver
    clock: ManualClock
    publication: Publication
    udp: UdpPeer
    sequence: int = 0

    def send(self, kind: TrackKind) -> None:
        self.sequence += 1
        packet = self.udp.peer.rtp(kind, self.sequence, self.sequence * 960, b"\xf8\xff\xfe")
        self.udp.send(packet)

    def check(self) -> None:
        """Send an ICE check: the anchor is there, whether it sends media or not."""
        self.udp.peer.check(self.clock.now)
        self.udp.exchange()

    async def hears(self, *what: object) -> None:
        """Wait until the observer has been told that; media is looked after every 0.4 s."""
        self.clock.now += 0.4
        await self.observer.wait_for(*what)

    @property
    def told(self) -> list[tuple[object, ...]]:
        """What was heard, but for the room and the anchor."""
        return [(what, *rest[2:]) for what, *rest in self.observer.heard]


@pytest.fixture
async def alice() -> AsyncIterator[Anchor]:
    clock, observer = ManualClock(), RecordingObserver()
    with media_port(clock, "127.0.0.1") as (port, tick):
        rooms = BuiltinRooms(port, RtcSettings(), clock, tick, observer.bus)
        peer = Peer((AUDIO, VIDEO))
        publication, answer = rooms.publish(ROOM, "alice", parse_remote_description(peer.offer))
        assert observer.heard == []
        udp = UdpPeer(port, peer, answer, host="127.0.0.1")
        udp.connect()
        yield Anchor(rooms, observer, clock, publication, udp)
        udp.close()


async def test_entering_sending_and_leaving(alice: Anchor) -> None:
    """A track begins with its first packet; the goodbye says nothing of tracks."""
    assert alice.observer.heard == [("created", "150", "alice"), ("entered", "150", "alice")]
    alice.send(AUDIO)
    await alice.hears("started", "150", "alice", AUDIO)
    alice.send(VIDEO)
    await alice.hears("started", "150", "alice", VIDEO)
    alice.udp.peer.close()
    alice.udp.exchange()
    assert alice.told[4:] == [("left", ExitReason.NORMAL), ("dismissed",)]


async def test_a_track_that_is_sent_no_more_has_stopped(alice: Anchor) -> None:
    """Once the anchor was heard otherwise; and it may begin again."""
    for kind in (AUDIO, VIDEO):
        alice.send(kind)
        await alice.hears("started", "150", "alice", kind)
    alice.clock.now += 6.5
    alice.send(AUDIO)
    await alice.hears("stopped", "150", "alice", VIDEO)
    alice.clock.now += 2.5
    alice.check()
    await alice.hears("stopped", "150", "alice", AUDIO)
    alice.observer.heard.clear()
    alice.send(VIDEO)
    await alice.hears("started", "150", "alice", VIDEO)


async def test_a_goodbye_stops_a_track_at_once(alice: Anchor) -> None:
    """RTCP BYE, with hardly any time gone by."""
    alice.send(VIDEO)
    await alice.hears("started", "150", "alice", VIDEO)
    alice.udp.send(alice.udp.peer.goodbye(VIDEO))
    await alice.hears("stopped", "150", "alice", VIDEO)


async def test_an_anchor_that_is_cut_off_has_left_and_not_stopped(alice: Anchor) -> None:
    """Silence of everything is told once: as its leaving."""
    alice.send(AUDIO)
    await alice.hears("started", "150", "alice", AUDIO)
    alice.clock.now += 15.5
    await alice.hears("dismissed", "150")
    assert alice.told[3:] == [("left", ExitReason.TIMEOUT), ("dismissed",)]


@pytest.mark.parametrize("how", ["removed", "dismissed", "closed"])
async def test_anchors_are_put_out(alice: Anchor, how: str) -> None:
    """By RemoveUser, by DismissRoom, and by the server's end."""
    if how == "removed":
        await alice.rooms.remove_users(ROOM, ["alice"])
    elif how == "dismissed":
        await alice.rooms.dismiss(ROOM)
    else:
        alice.rooms.close()
    assert alice.told[2:] == [("left", ExitReason.REMOVED), ("dismissed",)]
