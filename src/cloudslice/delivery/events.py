"""What webhooks tell, and their bodies, byte for byte as docs/wire.md, 10, has them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from cloudslice.slices import SliceKind, TaskRef

Payload = Mapping[str, int | str]


class EventType(IntEnum):
    """What happened to a task (docs/wire.md, 10.3)."""

    START = 1001
    STOP = 1002
    UPLOAD_START = 1003
    FILE_INFO = 1004
    UPLOAD_STOP = 1005
    UPLOAD_ERROR = 1006


class RoomEventType(IntEnum):
    """What happened in a room. Nobody's role changes in our rooms: there is no 105."""

    CREATE_ROOM = 101
    DISMISS_ROOM = 102
    ENTER_ROOM = 103
    EXIT_ROOM = 104
    START_VIDEO = 201
    STOP_VIDEO = 202
    START_AUDIO = 203
    STOP_AUDIO = 204
    START_ASSIT = 205
    STOP_ASSIT = 206


class UploadStatus(IntEnum):
    """The Status of event 1005."""

    ALL_STORED = 0
    INCOMPLETE = 1
    LEFTOVERS_STORED = 2


@dataclass(frozen=True, slots=True)
class Event:
    """What a webhook tells, but for its times."""

    sdk_app_id: int
    subject: str
    """The task or room that it is about; the events about one subject are sent in order."""
    type: EventType | RoomEventType
    room_id: int | str
    """A number for numeric rooms."""
    details: Mapping[str, object]
    """The members of EventInfo that stand behind the room and the times."""


def task_event(
    consignor: TaskRef,
    event_type: EventType,
    payload: Payload,
    *,
    stream_user_id: str | None = None,
) -> Event:
    """An event of a task.

    Args:
        consignor: the task.
        event_type: what happened.
        payload: as docs/wire.md, 10.3, has it for that type.
        stream_user_id: the anchor, for FILE_INFO.
    """
    details: dict[str, object] = {"UserId": consignor.robot_user_id}
    if stream_user_id is not None:
        details["StreamUserId"] = stream_user_id
    details |= {"TaskId": consignor.task_id, "Payload": dict(payload)}
    return Event(consignor.sdk_app_id, consignor.task_id, event_type, consignor.room_id, details)


def room_event(
    sdk_app_id: int, room_id: int | str, event_type: RoomEventType, **details: int | str
) -> Event:
    """An event of a room; `details` as docs/wire.md, 10.4, has them for that type."""
    subject = f"room {json.dumps(room_id)}"  # 1 and "1" are two rooms; no TaskId has a space
    return Event(sdk_app_id, subject, event_type, room_id, details)


def build_body(event: Event, *, event_ms: int, callback_ms: int) -> bytes:
    """The event as compact JSON in UTF-8.

    Args:
        event: what is told.
        event_ms: when it happened, UTC.
        callback_ms: when it is sent, UTC.
    """
    body = {
        "EventGroupId": event.type // 100,
        "EventType": int(event.type),
        "CallbackTs": callback_ms,
        "EventInfo": {
            "RoomId": event.room_id,
            "EventTs": event_ms // 1000,
            "EventMsTs": event_ms,
            **event.details,
        },
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def file_payload(
    kind: SliceKind, object_key: str, url: str, *, start_ms: int, duration_ms: int
) -> Payload:
    """The payload of FILE_INFO: what is where, then the exact times, UTC milliseconds.

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
