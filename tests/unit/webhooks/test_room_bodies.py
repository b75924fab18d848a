"""What happens in rooms comes out as docs/wire.md, 10.4, has it."""

import json

import pytest

from cloudslice.events import (
    AnchorJoined,
    AnchorLeft,
    ExitReason,
    MediaStarted,
    MediaStopped,
    RoomCreated,
    RoomDismissed,
)
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.webhooks.bodies import RoomEvent, build_body, room_notice

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)


@pytest.mark.parametrize(
    ("event", "group", "event_type", "details"),
    [
        pytest.param(RoomCreated(ROOM, "alice"), 1, 101, {"UserId": "alice"}, id="101"),
        pytest.param(RoomDismissed(ROOM), 1, 102, {}, id="102"),
        pytest.param(
            AnchorJoined(ROOM, "alice"), 1, 103,
            {"UserId": "alice", "Role": 20, "TerminalType": 100, "UserType": 1, "Reason": 1},
            id="103",
        ),
        *(
            pytest.param(
                AnchorLeft(ROOM, "alice", reason), 1, 104,
                {"UserId": "alice", "Role": 20, "Reason": number}, id=f"104 {reason.name}",
            )
            for number, reason in
            ((1, ExitReason.NORMAL), (2, ExitReason.TIMEOUT), (3, ExitReason.REMOVED))
        ),
        *(
            pytest.param(
                MediaStarted(ROOM, "alice", kind), 2, number, {"UserId": "alice"}, id=str(number)
            )
            for kind, number in
            ((TrackKind.VIDEO, 201), (TrackKind.AUDIO, 203), (TrackKind.AUX, 205))
        ),
        *(
            pytest.param(
                MediaStopped(ROOM, "alice", kind), 2, number, {"UserId": "alice", "Reason": 0},
                id=str(number),
            )
            for kind, number in
            ((TrackKind.VIDEO, 202), (TrackKind.AUDIO, 204), (TrackKind.AUX, 206))
        ),
    ],
)  # fmt: skip
def test_every_event_is_as_the_contract_has_it(
    event: RoomEvent, group: int, event_type: int, details: dict[str, int | str]
) -> None:
    notice = room_notice(event)
    assert notice.sdk_app_id == 1
    assert json.loads(build_body(notice, event_ms=1500, callback_ms=1600)) == {
        "EventGroupId": group,
        "EventType": event_type,
        "CallbackTs": 1600,
        "EventInfo": {"RoomId": 150, "EventTs": 1, "EventMsTs": 1500} | details,
    }


def test_a_string_room_has_a_text_for_its_id() -> None:
    notice = room_notice(RoomDismissed(RoomKey(1, "150", RoomIdType.STRING)))
    assert notice.room_id == "150"
