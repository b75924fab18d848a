"""Event bodies, byte for byte, as docs/wire.md, 10, has them."""

import json
from dataclasses import replace

import pytest

from cloudslice.events import (
    MediaStopped,
    RobotEntered,
    RobotLeft,
    RoomDismissed,
    SliceStored,
    UploadFailed,
    UploadsEnded,
    UploadsOutcome,
    UploadsStarted,
)
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.slices import Slice, SliceKind, SliceOrigin, TaskRef
from cloudslice.webhooks.bodies import (
    RoomEvent,
    TaskEvent,
    build_body,
    room_notice,
    task_notice,
)

TASK = TaskRef("-m9-EXAMPLE+TaskId..", 1400000000, 150, "slice_bot_150")
IN_TEXT_ROOM = TaskRef(TASK.task_id, 1400000000, "room-150", "slice_bot_150")
EXAMPLES = [
    pytest.param(
        RobotEntered(TASK, has_failed=False), 1700000001200, 1700000001250,
        '{"EventGroupId":10,"EventType":1001,"CallbackTs":1700000001250,"EventInfo":{"RoomId":150,"EventTs":1700000001,"EventMsTs":1700000001200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}',
        id="1001",
    ),
    pytest.param(
        RobotLeft(TASK, 99), 1700000300200, 1700000300250,
        '{"EventGroupId":10,"EventType":1002,"CallbackTs":1700000300250,"EventInfo":{"RoomId":150,"EventTs":1700000300,"EventMsTs":1700000300200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"LeaveCode":99}}}',
        id="1002",
    ),
    pytest.param(
        UploadsStarted(TASK, has_failed=False), 1700000016200, 1700000016250,
        '{"EventGroupId":10,"EventType":1003,"CallbackTs":1700000016250,"EventInfo":{"RoomId":150,"EventTs":1700000016,"EventMsTs":1700000016200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}',
        id="1003",
    ),
    pytest.param(
        UploadsEnded(TASK, UploadsOutcome.ALL_STORED), 1700000305200, 1700000305250,
        '{"EventGroupId":10,"EventType":1005,"CallbackTs":1700000305250,"EventInfo":{"RoomId":150,"EventTs":1700000305,"EventMsTs":1700000305200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}',
        id="1005",
    ),
    pytest.param(
        UploadFailed(IN_TEXT_ROOM, 403, "AccessDenied: Access Denied."),
        1700000018200, 1700000018250,
        '{"EventGroupId":10,"EventType":1006,"CallbackTs":1700000018250,"EventInfo":{"RoomId":"room-150","EventTs":1700000018,"EventMsTs":1700000018200,"UserId":"slice_bot_150","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Code":403,"Message":"AccessDenied: Access Denied."}}}',  # noqa: E501
        id="1006",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("event", "event_ms", "callback_ms", "expected"), EXAMPLES)
def test_contract_examples(
    event: TaskEvent, event_ms: int, callback_ms: int, expected: str
) -> None:
    """The bytes are the documented ones, the order of the members included."""
    body = build_body(task_notice(event), event_ms=event_ms, callback_ms=callback_ms)
    assert body == expected.encode()


def make_slice(kind: SliceKind, key: str, start_ms: int, duration_ms: int) -> Slice:
    origin = SliceOrigin(TASK.task_id, "anchor_1", kind, "x")
    return Slice("1", origin, key, start_ms, duration_ms, {}, size=1, sha256="ab")


def test_file_event() -> None:
    """1004 has the vendor's members first, then the exact times."""
    key = "prefix1/-m9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg"
    url = f"https://demo-1250000000.cos.ap-guangzhou.myqcloud.com/{key.replace('+', '%2B')}"
    notice = task_notice(
        SliceStored(TASK, make_slice(SliceKind.AUDIO, key, 1700000001007, 15000), url)
    )
    body = build_body(notice, event_ms=1700000017200, callback_ms=1700000017250)
    expected = '{"EventGroupId":10,"EventType":1004,"CallbackTs":1700000017250,"EventInfo":{"RoomId":150,"EventTs":1700000017,"EventMsTs":1700000017200,"UserId":"slice_bot_150","StreamUserId":"anchor_1","TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"MediaType":1,"FileName":"prefix1/-m9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg","Audio":"https://demo-1250000000.cos.ap-guangzhou.myqcloud.com/prefix1/-m9-EXAMPLE%2BTaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg","Image":""'
    added = ',"StartTimeStamp":1700000001007,"EndTimeStamp":1700000016007}}}'
    assert body == (expected + added).encode()


def test_who_has_another_name_elsewhere_is_told_so() -> None:
    """Behind all other members."""
    stored = make_slice(SliceKind.AUDIO, "k", 5, 0)
    stored = replace(stored, origin=replace(stored.origin, identity="张伟@example.com"))
    body = build_body(
        task_notice(SliceStored(TASK, stored, "https://u")), event_ms=1, callback_ms=2
    )
    assert body.decode().endswith(
        ',"StartTimeStamp":5,"EndTimeStamp":5,"StreamIdentity":"张伟@example.com"}}}'
    )


def test_what_a_slice_knows_of_itself_stands_behind_all_else() -> None:
    stored = make_slice(SliceKind.AUDIO, "k", 5, 0)
    stored = replace(stored, details={"first-sample": 0, "clock": "fast,slow"})
    body = build_body(
        task_notice(SliceStored(TASK, stored, "https://u")), event_ms=1, callback_ms=2
    )
    assert body.decode().endswith(
        ',"EndTimeStamp":5,"Details":{"FirstSample":0,"Clock":"fast,slow"}}}}'
    )


def test_picture_event() -> None:
    """The URL stands under Image, and the picture takes no time."""
    notice = task_notice(SliceStored(TASK, make_slice(SliceKind.IMAGE, "k", 5, 0), "https://u"))
    assert notice.details["Payload"] == {
        "MediaType": 2,
        "FileName": "k",
        "Audio": "",
        "Image": "https://u",
        "StartTimeStamp": 5,
        "EndTimeStamp": 5,
    }


def test_text_is_utf_8() -> None:
    """Nothing is escaped that need not be."""
    notice = task_notice(RobotEntered(TaskRef("t", 1, "raum ß", "bot"), has_failed=True))
    body = build_body(notice, event_ms=0, callback_ms=0)
    assert "raum ß".encode() in body
    assert json.loads(body)["EventInfo"]["RoomId"] == "raum ß"


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(
            MediaStopped(
                RoomKey(1400000000, "8489", RoomIdType.NUMBER), "user_85034614", TrackKind.AUDIO
            ),
            '{"EventGroupId":2,"EventType":204,"CallbackTs":1664209748188,"EventInfo":{"RoomId":8489,"EventTs":1664209748,"EventMsTs":1664209748180,"UserId":"user_85034614","Reason":0}}',
            id="204, the members of the published vector",
        ),
        pytest.param(
            RoomDismissed(RoomKey(1400000000, "room-150", RoomIdType.STRING)),
            '{"EventGroupId":1,"EventType":102,"CallbackTs":1664209748188,"EventInfo":{"RoomId":"room-150","EventTs":1664209748,"EventMsTs":1664209748180}}',
            id="102, a string room",
        ),
    ],
)  # fmt: skip
def test_room_and_media_events(event: RoomEvent, expected: str) -> None:
    """The group is that of the type; there are no TaskId and no Payload."""
    body = build_body(room_notice(event), event_ms=1664209748180, callback_ms=1664209748188)
    assert body == expected.encode()


def test_rooms_of_both_kinds_and_tasks_are_subjects_of_their_own() -> None:
    """What is told of one does not wait for what is told of another."""
    rooms = [room_notice(RoomDismissed(RoomKey(1, "150", kind))) for kind in RoomIdType]
    task = task_notice(RobotEntered(TaskRef("150", 1, 150, "bot"), has_failed=False))
    assert len({notice.subject for notice in (*rooms, task)}) == 3
