"""The bodies of slicing events, EventGroupId 10, exactly as contract E2 to E4."""

import json
from collections.abc import Mapping
from enum import IntEnum

from cloudslice.delivery.model import Consignor, SliceKind

_EVENT_GROUP = 10
Payload = Mapping[str, int | str]


class EventType(IntEnum):
    """What happened (contract E3)."""

    START = 1001
    STOP = 1002
    UPLOAD_START = 1003
    FILE_INFO = 1004
    UPLOAD_STOP = 1005
    UPLOAD_ERROR = 1006


class UploadStatus(IntEnum):
    """The Status of event 1005 (contract E3)."""

    ALL_STORED = 0
    INCOMPLETE = 1
    LEFTOVERS_STORED = 2


def build_body(
    consignor: Consignor,
    event_type: EventType,
    payload: Payload,
    *,
    event_ms: int,
    callback_ms: int,
    stream_user_id: str | None = None,
) -> bytes:
    """The event as compact JSON in UTF-8.

    Args:
        consignor: whose event it is.
        event_type: what happened.
        payload: as contract E3 has it for that type.
        event_ms: when it happened, UTC.
        callback_ms: when it is sent, UTC.
        stream_user_id: the anchor, for FILE_INFO.
    """
    info: dict[str, object] = {
        "RoomId": consignor.room_id,
        "EventTs": event_ms // 1000,
        "EventMsTs": event_ms,
        "UserId": consignor.robot_user_id,
    }
    if stream_user_id is not None:
        info["StreamUserId"] = stream_user_id
    info["TaskId"] = consignor.task_id
    info["Payload"] = dict(payload)
    event = {
        "EventGroupId": _EVENT_GROUP,
        "EventType": int(event_type),
        "CallbackTs": callback_ms,
        "EventInfo": info,
    }
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def file_payload(
    kind: SliceKind, object_key: str, url: str, *, start_ms: int, duration_ms: int
) -> Payload:
    """The payload of FILE_INFO: contract E4's fields, then the exact times, UTC milliseconds.

    A picture starts and ends at the instant it shows.
    """
    audio = kind is SliceKind.AUDIO
    return {
        "MediaType": 1 if audio else 2,
        "FileName": object_key,
        "Audio": url if audio else "",
        "Image": "" if audio else url,
        "StartTimeStamp": start_ms,
        "EndTimeStamp": start_ms + duration_ms,
    }
