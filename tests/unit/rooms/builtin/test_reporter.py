"""An observer hears who comes and goes, and when media begins and stops, each once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from cloudslice.events import ExitReason
from cloudslice.faults import Faults
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.rooms.builtin.reporter import RoomReporter
from cloudslice.webrtc.connection_user import CloseReason
from helpers.room_observer import RecordingObserver, RoomEvent

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)
OTHER = RoomKey(1, "151", RoomIdType.NUMBER)
NEVER = float("-inf")


@dataclass
class Receiver:
    last_arrival: float = NEVER


@dataclass(eq=False)
class ManualPublication:
    """What the reporter sees of a publication; the test moves its times."""

    user_id: str
    room: RoomKey = ROOM
    last_authentic: float = 0.0
    audio: Receiver = field(default_factory=Receiver)
    video: Receiver = field(default_factory=Receiver)

    @property
    def connection(self) -> "ManualPublication":
        return self

    @property
    def tracks(self) -> list[tuple[TrackKind, Receiver]]:
        return [(TrackKind.AUDIO, self.audio), (TrackKind.VIDEO, self.video)]

    @property
    def publication(self) -> Publication:
        return cast(Publication, self)


class Desk:
    """A reporter and what it has said."""

    def __init__(self) -> None:
        self.observer = RecordingObserver()
        self.faults = Faults("room")
        self.reporter = RoomReporter(self.observer.bus, self.faults)

    def enter(self, user_id: str, room: RoomKey = ROOM) -> ManualPublication:
        anchor = ManualPublication(user_id, room)
        self.reporter.entered(anchor.publication)
        return anchor

    def leave(self, anchor: ManualPublication, reason: CloseReason = CloseReason.LEFT) -> None:
        self.reporter.left(anchor.publication, reason)

    def news(self) -> list[tuple[object, ...]]:
        """What was said since the last time, after a look."""
        self.reporter.look()
        news, self.observer.heard = self.observer.heard, []
        return news


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.fixture
async def alice(desk: Desk) -> ManualPublication:
    alice = desk.enter("alice")
    desk.news()
    return alice


async def test_a_room_is_there_from_its_first_anchor_to_its_last(desk: Desk) -> None:
    alice, bob = desk.enter("alice"), desk.enter("bob")
    desk.leave(alice)
    desk.leave(bob)
    desk.enter("carol")
    assert desk.news() == [
        ("created", "150", "alice"),
        ("entered", "150", "alice"),
        ("entered", "150", "bob"),
        ("left", "150", "alice", ExitReason.NORMAL),
        ("left", "150", "bob", ExitReason.NORMAL),
        ("dismissed", "150"),
        ("created", "150", "carol"),
        ("entered", "150", "carol"),
    ]


async def test_rooms_do_not_mix(desk: Desk) -> None:
    """The same UserId in two rooms is two anchors."""
    here, _there = desk.enter("alice"), desk.enter("alice", OTHER)
    desk.news()
    desk.leave(ManualPublication("alice", OTHER))  # not the one that is there
    assert desk.news() == []
    desk.leave(here)
    assert desk.news() == [("left", "150", "alice", ExitReason.NORMAL), ("dismissed", "150")]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        pytest.param(CloseReason.LEFT, ExitReason.NORMAL, id="said goodbye"),
        pytest.param(CloseReason.LOST, ExitReason.TIMEOUT, id="fell silent"),
        pytest.param(CloseReason.ENDED, ExitReason.REMOVED, id="was put out"),
    ],
)
async def test_why_an_anchor_left(
    desk: Desk, alice: ManualPublication, reason: CloseReason, expected: ExitReason
) -> None:
    desk.leave(alice, reason)
    assert desk.news()[0] == ("left", "150", "alice", expected)


async def test_a_newer_publication_puts_the_older_one_out(
    desk: Desk, alice: ManualPublication
) -> None:
    """The room goes on, and the end of the older one is no news."""
    alice.audio.last_arrival = 0.0
    desk.news()
    newer = desk.enter("alice")
    desk.leave(alice, CloseReason.ENDED)
    newer.audio.last_arrival = 0.0
    assert desk.news() == [
        ("left", "150", "alice", ExitReason.REMOVED),
        ("entered", "150", "alice"),
        ("started", "150", "alice", TrackKind.AUDIO),
    ]


async def test_media_begins_with_its_packets(desk: Desk, alice: ManualPublication) -> None:
    """Not with the offer; and once."""
    assert desk.news() == []
    alice.audio.last_arrival = 0.5
    assert desk.news() == [("started", "150", "alice", TrackKind.AUDIO)]
    alice.video.last_arrival = alice.audio.last_arrival = alice.last_authentic = 1.0
    assert desk.news() == [("started", "150", "alice", TrackKind.VIDEO)]


@pytest.mark.parametrize(
    ("kind", "last_arrival", "heard", "is_stopped"),
    [
        pytest.param(TrackKind.AUDIO, 1.0, 2.9, False, id="a pause"),
        pytest.param(TrackKind.AUDIO, 1.0, 3.0, True, id="silence, while the anchor is heard"),
        pytest.param(TrackKind.VIDEO, 1.0, 6.9, False, id="a still screen"),
        pytest.param(TrackKind.VIDEO, 1.0, 7.0, True, id="no video, while the anchor is heard"),
        pytest.param(TrackKind.VIDEO, 1.0, 1.0, False, id="nothing at all comes"),
        pytest.param(TrackKind.VIDEO, NEVER, 1.0, True, id="a goodbye"),
    ],
)
async def test_when_media_has_stopped(
    desk: Desk,
    alice: ManualPublication,
    kind: TrackKind,
    last_arrival: float,
    heard: float,
    *,
    is_stopped: bool,
) -> None:
    receiver = dict(alice.tracks)[kind]
    receiver.last_arrival = alice.last_authentic = 1.0
    desk.news()
    receiver.last_arrival, alice.last_authentic = last_arrival, heard
    assert desk.news() == ([("stopped", "150", "alice", kind)] if is_stopped else [])
    assert desk.news() == []


async def test_media_begins_again(desk: Desk, alice: ManualPublication) -> None:
    alice.video.last_arrival = 1.0
    desk.news()
    alice.last_authentic = 8.0
    desk.news()
    alice.video.last_arrival = 8.0
    assert desk.news() == [("started", "150", "alice", TrackKind.VIDEO)]


async def test_leaving_says_nothing_of_media(desk: Desk, alice: ManualPublication) -> None:
    alice.video.last_arrival = alice.audio.last_arrival = 0.0
    desk.news()
    desk.leave(alice)
    assert desk.news() == [("left", "150", "alice", ExitReason.NORMAL), ("dismissed", "150")]


async def test_a_listener_that_breaks_keeps_nobody_half_in_a_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each failure counts, and all that follows is told."""

    def break_after(
        hear: Callable[[RecordingObserver, RoomEvent], None],
    ) -> Callable[[RecordingObserver, RoomEvent], None]:
        def hear_and_break(observer: RecordingObserver, event: RoomEvent) -> None:
            hear(observer, event)
            raise ZeroDivisionError("a bug")

        return hear_and_break

    monkeypatch.setattr(RecordingObserver, "_hear", break_after(RecordingObserver._hear))
    desk = Desk()
    alice, bob = desk.enter("alice"), desk.enter("bob")
    for each in (alice, bob):
        each.audio.last_arrival = each.last_authentic = 1.0
    desk.reporter.look()
    for each in (alice, bob):
        desk.leave(each)
    assert [what[0] for what in desk.observer.heard] == [
        *("created", "entered", "entered"),
        *("started", "started"),
        *("left", "left", "dismissed"),
    ]
    assert desk.observer.bus.faults.errors == 8


async def test_an_anchor_whose_connection_breaks_has_left(desk: Desk) -> None:
    """As one that is not heard any more."""
    alice = desk.enter("alice")
    desk.news()
    desk.leave(alice, CloseReason.FAILED)
    assert desk.news() == [
        ("left", "150", "alice", ExitReason.TIMEOUT),
        ("dismissed", "150"),
    ]


async def test_media_is_looked_after_now_and_then(desk: Desk, alice: ManualPublication) -> None:
    """Not on every tick; and while somebody is there, ticks are needed."""
    alice.audio.last_arrival = 0.0
    desk.reporter.tick(1.0)
    alice.video.last_arrival = 0.0
    desk.reporter.tick(1.3)
    assert desk.observer.heard[-1] == ("started", "150", "alice", TrackKind.AUDIO)
    desk.reporter.tick(1.4)
    assert desk.observer.heard[-1] == ("started", "150", "alice", TrackKind.VIDEO)
    assert desk.reporter.is_active
    desk.leave(alice)
    assert not desk.reporter.is_active
