"""What rooms report comes out as docs/wire.md, 10.4, has it, for apps that want it."""

import json
from collections.abc import Callable

import pytest

from cloudslice.config import Settings
from cloudslice.delivery.events import Event, build_body
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.room_events import RoomEvents
from cloudslice.rooms.observer import ExitReason

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)


def make_events(told: list[Event], *, is_wanted: bool = True) -> RoomEvents:
    app = {"sdk_app_id": 1, "secret_key": "x", "room_events": is_wanted}
    return RoomEvents(Settings.model_validate({"apps": [app]}), told.append)


@pytest.mark.parametrize(
    ("report", "group", "event_type", "details"),
    [
        pytest.param(
            lambda events: events.on_room_created(ROOM, "alice"), 1, 101, {"UserId": "alice"},
            id="101",
        ),
        pytest.param(lambda events: events.on_room_dismissed(ROOM), 1, 102, {}, id="102"),
        pytest.param(
            lambda events: events.on_anchor_entered(ROOM, "alice"), 1, 103,
            {"UserId": "alice", "Role": 20, "TerminalType": 100, "UserType": 1, "Reason": 1},
            id="103",
        ),
        pytest.param(
            lambda events: events.on_anchor_left(ROOM, "alice", ExitReason.NORMAL), 1, 104,
            {"UserId": "alice", "Role": 20, "Reason": 1}, id="104 normal",
        ),
        pytest.param(
            lambda events: events.on_anchor_left(ROOM, "alice", ExitReason.TIMEOUT), 1, 104,
            {"UserId": "alice", "Role": 20, "Reason": 2}, id="104 timeout",
        ),
        pytest.param(
            lambda events: events.on_anchor_left(ROOM, "alice", ExitReason.REMOVED), 1, 104,
            {"UserId": "alice", "Role": 20, "Reason": 3}, id="104 removed",
        ),
        *(
            pytest.param(
                lambda events, kind=kind: events.on_track_started(ROOM, "alice", kind), 2, number,
                {"UserId": "alice"}, id=str(number),
            )
            for kind, number in
            ((TrackKind.VIDEO, 201), (TrackKind.AUDIO, 203), (TrackKind.AUX, 205))
        ),
        *(
            pytest.param(
                lambda events, kind=kind: events.on_track_stopped(ROOM, "alice", kind), 2, number,
                {"UserId": "alice", "Reason": 0}, id=str(number),
            )
            for kind, number in
            ((TrackKind.VIDEO, 202), (TrackKind.AUDIO, 204), (TrackKind.AUX, 206))
        ),
    ],
)  # fmt: skip
def test_every_event_is_as_the_contract_has_it(
    report: Callable[[RoomEvents], None],
    group: int,
    event_type: int,
    details: dict[str, int | str],
) -> None:
    told: list[Event] = []
    report(make_events(told))
    (event,) = told
    assert event.sdk_app_id == 1
    assert json.loads(build_body(event, event_ms=1500, callback_ms=1600)) == {
        "EventGroupId": group,
        "EventType": event_type,
        "CallbackTs": 1600,
        "EventInfo": {"RoomId": 150, "EventTs": 1, "EventMsTs": 1500} | details,
    }


def test_a_string_room_has_a_text_for_its_id() -> None:
    told: list[Event] = []
    make_events(told).on_room_dismissed(RoomKey(1, "150", RoomIdType.STRING))
    assert told[0].room_id == "150"


def test_an_app_that_has_not_asked_is_told_nothing() -> None:
    """Nor one that is not in the settings any more."""
    told: list[Event] = []
    make_events(told, is_wanted=False).on_room_dismissed(ROOM)
    make_events(told).on_room_dismissed(RoomKey(2, "150", RoomIdType.NUMBER))
    assert told == []
