"""Event bodies, byte for byte, as docs/wire.md, 10, has them."""

import json

import pytest

from cloudslice.delivery.events import (
    EventType,
    RoomEventType,
    build_body,
    file_payload,
    room_event,
    task_event,
)
from cloudslice.slices import SliceKind, TaskRef

TASK = "-m9-EXAMPLE+TaskId.."
EXAMPLES = [
    pytest.param(
        150, EventType.START, {"Status": 0}, 1700000001200, 1700000001250,
        '{"EventGroupId":10,"EventType":1001,"CallbackTs":1700000001250,"EventInfo":{"RoomId":150,"EventTs":1700000001,"EventMsTs":1700000001200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}',
        id="1001",
    ),
    pytest.param(
        150, EventType.STOP, {"LeaveCode": 99}, 1700000300200, 1700000300250,
        '{"EventGroupId":10,"EventType":1002,"CallbackTs":1700000300250,"EventInfo":{"RoomId":150,"EventTs":1700000300,"EventMsTs":1700000300200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"LeaveCode":99}}}',
        id="1002",
    ),
    pytest.param(
        150, EventType.UPLOAD_START, {"Status": 0}, 1700000016200, 1700000016250,
        '{"EventGroupId":10,"EventType":1003,"CallbackTs":1700000016250,"EventInfo":{"RoomId":150,"EventTs":1700000016,"EventMsTs":1700000016200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}',
        id="1003",
    ),
    pytest.param(
        150, EventType.UPLOAD_STOP, {"Status": 0}, 1700000305200, 1700000305250,
        '{"EventGroupId":10,"EventType":1005,"CallbackTs":1700000305250,"EventInfo":{"RoomId":150,"EventTs":1700000305,"EventMsTs":1700000305200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}',
        id="1005",
    ),
    pytest.param(
        "room-150", EventType.UPLOAD_ERROR,
        {"Code": 403, "Message": "AccessDenied: Access Denied."}, 1700000018200, 1700000018250,
        '{"EventGroupId":10,"EventType":1006,"CallbackTs":1700000018250,"EventInfo":{"RoomId":"room-150","EventTs":1700000018,"EventMsTs":1700000018200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Code":403,"Message":"AccessDenied: Access Denied."}}}',  # noqa: E501
        id="1006",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("room_id", "event_type", "payload", "event_ms", "callback_ms", "expected"), EXAMPLES
)
def test_contract_examples(
    room_id: int | str,
    event_type: EventType,
    payload: dict[str, int | str],
    event_ms: int,
    callback_ms: int,
    expected: str,
) -> None:
    """The bytes are the documented ones, the order of the members included."""
    consignor = TaskRef(TASK, 1400000000, room_id, "slice_bot_150")
    event = task_event(consignor, event_type, payload)
    body = build_body(event, event_ms=event_ms, callback_ms=callback_ms)
    assert body == expected.encode()


def test_file_event() -> None:
    """1004 has the vendor's members first, then the exact times."""
    key = "prefix1/-m9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg"
    url = f"https://demo-1250000000.cos.ap-guangzhou.myqcloud.com/{key.replace('+', '%2B')}"
    event = task_event(
        TaskRef(TASK, 1400000000, 150, "slice_bot_150"),
        EventType.FILE_INFO,
        file_payload(SliceKind.AUDIO, key, url, start_ms=1700000001007, duration_ms=15000),
        stream_user_id="anchor_1",
    )
    body = build_body(event, event_ms=1700000017200, callback_ms=1700000017250)
    expected = '{"EventGroupId":10,"EventType":1004,"CallbackTs":1700000017250,"EventInfo":{"RoomId":150,"EventTs":1700000017,"EventMsTs":1700000017200,"UserId":"slice_bot_150","StreamUserId":"anchor_1","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"MediaType":1,"FileName":"prefix1/-m9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg","Audio":"https://demo-1250000000.cos.ap-guangzhou.myqcloud.com/prefix1/-m9-EXAMPLE%2BTaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg","Image":""'
    added = ',"StartTimeStamp":1700000001007,"EndTimeStamp":1700000016007}}}'
    assert body == (expected + added).encode()


def test_picture_event() -> None:
    """The URL stands under Image, and the picture takes no time."""
    payload = file_payload(SliceKind.IMAGE, "k", "https://u", start_ms=5, duration_ms=0)
    assert payload == {
        "MediaType": 2,
        "FileName": "k",
        "Audio": "",
        "Image": "https://u",
        "StartTimeStamp": 5,
        "EndTimeStamp": 5,
    }


def test_text_is_utf_8() -> None:
    """Nothing is escaped that need not be."""
    consignor = TaskRef("t", 1, "raum ß", "bot")
    event = task_event(consignor, EventType.START, {"Status": 1})
    body = build_body(event, event_ms=0, callback_ms=0)
    assert "raum ß".encode() in body
    assert json.loads(body)["EventInfo"]["RoomId"] == "raum ß"


@pytest.mark.parametrize(
    ("room_id", "event_type", "details", "expected"),
    [
        pytest.param(
            8489, RoomEventType.STOP_AUDIO, {"UserId": "user_85034614", "Reason": 0},
            '{"EventGroupId":2,"EventType":204,"CallbackTs":1664209748188,"EventInfo":{"RoomId":8489,"EventTs":1664209748,"EventMsTs":1664209748180,"UserId":"user_85034614","Reason":0}}',
            id="204, the members of the published vector",
        ),
        pytest.param(
            "room-150", RoomEventType.DISMISS_ROOM, {},
            '{"EventGroupId":1,"EventType":102,"CallbackTs":1664209748188,"EventInfo":{"RoomId":"room-150","EventTs":1664209748,"EventMsTs":1664209748180}}',
            id="102, a string room",
        ),
    ],
)  # fmt: skip
def test_room_and_media_events(
    room_id: int | str, event_type: RoomEventType, details: dict[str, int | str], expected: str
) -> None:
    """The group is that of the type; there are no TaskId and no Payload."""
    event = room_event(1400000000, room_id, event_type, **details)
    assert build_body(event, event_ms=1664209748180, callback_ms=1664209748188) == expected.encode()


def test_rooms_of_both_kinds_and_tasks_are_subjects_of_their_own() -> None:
    """What is told of one does not wait for what is told of another."""
    rooms = [room_event(1, room_id, RoomEventType.DISMISS_ROOM) for room_id in (150, "150")]
    task = task_event(TaskRef("150", 1, 150, "bot"), EventType.START, {"Status": 0})
    assert len({event.subject for event in (*rooms, task)}) == 3
