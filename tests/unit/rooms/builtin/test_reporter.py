"""An observer hears who comes and goes, and when media begins and stops, each once."""

from dataclasses import dataclass, field
from typing import cast

import pytest
from cloudslice.rtp.session import CloseReason, Session

from cloudslice.faults import Faults
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.media.tracks import TrackKind
from cloudslice.rooms.builtin.reporter import RoomReporter
from cloudslice.rooms.observer import ExitReason
from helpers.room_observer import RecordingObserver

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)
OTHER = RoomKey(1, "151", RoomIdType.NUMBER)
NEVER = float("-inf")


@dataclass
class Receiver:
    last_arrival: float = NEVER


@dataclass(eq=False)
class ManualSession:
    """What the reporter sees of a session; the test moves its times."""

    last_authentic: float = 0.0
    audio: Receiver = field(default_factory=Receiver)
    video: Receiver = field(default_factory=Receiver)

    @property
    def receivers(self) -> dict[TrackKind, Receiver]:
        return {TrackKind.AUDIO: self.audio, TrackKind.VIDEO: self.video}

    @property
    def session(self) -> Session:
        return cast(Session, self)


class Desk:
    """A reporter and what it has said."""

    def __init__(self) -> None:
        self.observer = RecordingObserver()
        self.faults = Faults("room")
        self.reporter = RoomReporter(self.observer, self.faults)

    def enter(self, user_id: str, room: RoomKey = ROOM) -> ManualSession:
        session = ManualSession()
        self.reporter.entered(room, user_id, session.session)
        return session

    def leave(
        self,
        user_id: str,
        session: ManualSession,
        reason: CloseReason = CloseReason.LEFT,
        room: RoomKey = ROOM,
    ) -> None:
        self.reporter.left(room, user_id, session.session, reason)

    def news(self) -> list[tuple[object, ...]]:
        """What was said since the last time, after a look."""
        self.reporter.look()
        news, self.observer.heard = self.observer.heard, []
        return news


@pytest.fixture
async def desk() -> Desk:
    return Desk()


@pytest.fixture
async def alice(desk: Desk) -> ManualSession:
    session = desk.enter("alice")
    desk.news()
    return session


async def test_a_room_is_there_from_its_first_anchor_to_its_last(desk: Desk) -> None:
    alice, bob = desk.enter("alice"), desk.enter("bob")
    desk.leave("alice", alice)
    desk.leave("bob", bob)
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
    desk.leave("alice", here, room=OTHER)  # not the one that is there
    assert desk.news() == []
    desk.leave("alice", here)
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
    desk: Desk, alice: ManualSession, reason: CloseReason, expected: ExitReason
) -> None:
    desk.leave("alice", alice, reason)
    assert desk.news()[0] == ("left", "150", "alice", expected)


async def test_a_newer_session_puts_the_older_one_out(desk: Desk, alice: ManualSession) -> None:
    """The room goes on, and the end of the older session is no news."""
    alice.audio.last_arrival = 0.0
    desk.news()
    newer = desk.enter("alice")
    desk.leave("alice", alice, CloseReason.ENDED)
    newer.audio.last_arrival = 0.0
    assert desk.news() == [
        ("left", "150", "alice", ExitReason.REMOVED),
        ("entered", "150", "alice"),
        ("started", "150", "alice", TrackKind.AUDIO),
    ]


async def test_media_begins_with_its_packets(desk: Desk, alice: ManualSession) -> None:
    """Not with the offer; and once."""
    assert desk.news() == []
    alice.audio.last_arrival = 0.5
    assert desk.news() == [("started", "150", "alice", TrackKind.AUDIO)]
    alice.video.last_arrival = alice.audio.last_arrival = alice.last_authentic = 1.0
    assert desk.news() == [("started", "150", "alice", TrackKind.VIDEO)]


@pytest.mark.parametrize(
    ("last_arrival", "heard", "is_stopped"),
    [
        pytest.param(1.0, 2.9, False, id="a pause"),
        pytest.param(1.0, 3.0, True, id="silence, while the anchor is heard"),
        pytest.param(1.0, 1.0, False, id="nothing at all comes"),
        pytest.param(NEVER, 1.0, True, id="a goodbye"),
    ],
)
async def test_when_media_has_stopped(
    desk: Desk, alice: ManualSession, last_arrival: float, heard: float, *, is_stopped: bool
) -> None:
    alice.video.last_arrival = alice.last_authentic = 1.0
    desk.news()
    alice.video.last_arrival, alice.last_authentic = last_arrival, heard
    assert desk.news() == ([("stopped", "150", "alice", TrackKind.VIDEO)] if is_stopped else [])
    assert desk.news() == []


async def test_media_begins_again(desk: Desk, alice: ManualSession) -> None:
    alice.video.last_arrival = 1.0
    desk.news()
    alice.last_authentic = 5.0
    desk.news()
    alice.video.last_arrival = 5.0
    assert desk.news() == [("started", "150", "alice", TrackKind.VIDEO)]


async def test_leaving_says_nothing_of_media(desk: Desk, alice: ManualSession) -> None:
    alice.video.last_arrival = alice.audio.last_arrival = 0.0
    desk.news()
    desk.leave("alice", alice)
    assert desk.news() == [("left", "150", "alice", ExitReason.NORMAL), ("dismissed", "150")]


async def test_an_observer_that_breaks_hears_all_that_follows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure counts; nobody is half in a room for it."""
    hear = RecordingObserver._hear

    def fail_after(observer: RecordingObserver, *what: object) -> None:
        hear(observer, *what)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(RecordingObserver, "_hear", fail_after)
    alice, bob = desk.enter("alice"), desk.enter("bob")
    for session in (alice, bob):
        session.audio.last_arrival = session.last_authentic = 1.0
    desk.reporter.look()
    for name, session in (("alice", alice), ("bob", bob)):
        desk.leave(name, session)
    assert [what[0] for what in desk.observer.heard] == [
        *("created", "entered", "entered"),
        *("started", "started"),
        *("left", "left", "dismissed"),
    ]
    assert desk.faults.errors == 8


async def test_an_anchor_whose_connection_breaks_has_left(desk: Desk) -> None:
    """As one that is not heard any more."""
    alice = desk.enter("alice")
    desk.news()
    desk.leave("alice", alice, CloseReason.FAILED)
    assert desk.news() == [
        ("left", "150", "alice", ExitReason.TIMEOUT),
        ("dismissed", "150"),
    ]
