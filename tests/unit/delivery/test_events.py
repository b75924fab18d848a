"""Event bodies against the contract's examples (E4), byte for byte."""

import json

import pytest

from cloudslice.delivery.events import EventType, build_body, file_payload
from cloudslice.delivery.model import Consignor, SliceKind

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
    """The bytes are those of the contract, the order of the members included."""
    consignor = Consignor(TASK, 1400000000, room_id, "slice_bot_150")
    body = build_body(consignor, event_type, payload, event_ms=event_ms, callback_ms=callback_ms)
    assert body == expected.encode()


def test_file_event() -> None:
    """1004 has the contract's members first, then the exact times."""
    key = "prefix1/-m9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg"
    url = f"https://demo-1250000000.cos.ap-guangzhou.myqcloud.com/{key.replace('+', '%2B')}"
    body = build_body(
        Consignor(TASK, 1400000000, 150, "slice_bot_150"),
        EventType.FILE_INFO,
        file_payload(SliceKind.AUDIO, key, url, start_ms=1700000001007, duration_ms=15000),
        event_ms=1700000017200,
        callback_ms=1700000017250,
        stream_user_id="anchor_1",
    )
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
    consignor = Consignor("t", 1, "raum ß", "bot")
    body = build_body(consignor, EventType.START, {"Status": 1}, event_ms=0, callback_ms=0)
    assert "raum ß".encode() in body
    assert json.loads(body)["EventInfo"]["RoomId"] == "raum ß"
