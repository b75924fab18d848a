"""What webhooks tell, and their bodies, byte for byte as docs/wire.md, 10, has them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from cloudslice.events import (
    AnchorJoined,
    AnchorLeft,
    MediaStarted,
    MediaStopped,
    RobotEntered,
    RobotLeft,
    RoomCreated,
    RoomDismissed,
    SliceStored,
    UploadFailed,
    UploadsEnded,
    UploadsStarted,
)
from cloudslice.ids import TrackKind
from cloudslice.slices import Details, SliceKind


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


TaskEvent = RobotEntered | RobotLeft | UploadsStarted | SliceStored | UploadsEnded | UploadFailed
RoomEvent = RoomCreated | RoomDismissed | AnchorJoined | AnchorLeft | MediaStarted | MediaStopped

_STARTS = {
    TrackKind.VIDEO: RoomEventType.START_VIDEO,
    TrackKind.AUDIO: RoomEventType.START_AUDIO,
    TrackKind.AUX: RoomEventType.START_ASSIT,
}
_STOPS = {
    TrackKind.VIDEO: RoomEventType.STOP_VIDEO,
    TrackKind.AUDIO: RoomEventType.STOP_AUDIO,
    TrackKind.AUX: RoomEventType.STOP_ASSIT,
}
_ANCHOR_ROLE = 20
_OTHER_TERMINAL = 100
_WEBRTC_USER = 1
_ENTERED_NORMALLY = 1
_STOPPED_NORMALLY = 0


@dataclass(frozen=True, slots=True)
class Notice:
    """What a webhook tells, but for its times."""

    sdk_app_id: int
    subject: str
    """The task or room that it is about; notices about one subject are sent in order."""
    type: EventType | RoomEventType
    room_id: int | str
    """A number for numeric rooms."""
    details: Mapping[str, object]
    """The members of EventInfo that stand behind the room and the times."""


def task_notice(event: TaskEvent) -> Notice:
    """The notice of what has happened to a task."""
    task = event.task
    event_type, payload = _describe_task_event(event)
    details: dict[str, object] = {"UserId": task.robot_user_id}
    if isinstance(event, SliceStored):
        details["StreamUserId"] = event.slice.origin.user_id
    details |= {"TaskId": task.task_id, "Payload": payload}
    return Notice(task.sdk_app_id, task.task_id, event_type, task.room_id, details)


def room_notice(event: RoomEvent) -> Notice:
    """The notice of what has happened in a room."""
    event_type, details = _describe_room_event(event)
    room = event.room
    # 1 and "1" are two rooms; no TaskId has a space.
    subject = f"room {json.dumps(room.wire_id)}"
    return Notice(room.sdk_app_id, subject, event_type, room.wire_id, details)


def build_body(notice: Notice, *, event_ms: int, callback_ms: int) -> bytes:
    """The notice as compact JSON in UTF-8.

    Args:
        event_ms: when it happened, UTC.
        callback_ms: when it is sent, UTC.
    """
    body = {
        "EventGroupId": notice.type // 100,
        "EventType": int(notice.type),
        "CallbackTs": callback_ms,
        "EventInfo": {
            "RoomId": notice.room_id,
            "EventTs": event_ms // 1000,
            "EventMsTs": event_ms,
            **notice.details,
        },
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _describe_task_event(event: TaskEvent) -> tuple[EventType, Mapping[str, object]]:
    """Type and payload."""
    match event:
        case RobotEntered():
            return EventType.START, {"Status": int(event.has_failed)}
        case RobotLeft():
            return EventType.STOP, {"LeaveCode": event.leave_code}
        case UploadsStarted():
            return EventType.UPLOAD_START, {"Status": int(event.has_failed)}
        case SliceStored():
            return EventType.FILE_INFO, _file_payload(event)
        case UploadsEnded():
            return EventType.UPLOAD_STOP, {"Status": int(event.outcome)}
        case UploadFailed():
            return EventType.UPLOAD_ERROR, {"Code": event.status, "Message": event.reason}


def _file_payload(event: SliceStored) -> dict[str, object]:
    """What is where, then the exact times, UTC milliseconds, then whom the room's server calls
    otherwise, then what else is known of it. A picture starts and ends at the instant it shows."""
    stored = event.slice
    is_audio = stored.origin.kind is SliceKind.AUDIO
    return {
        "MediaType": 1 if is_audio else 2,
        "FileName": stored.object_key,
        "Audio": event.url if is_audio else "",
        "Image": "" if is_audio else event.url,
        "StartTimeStamp": stored.start_ms,
        "EndTimeStamp": stored.start_ms + stored.duration_ms,
        **({"StreamIdentity": stored.origin.identity} if stored.origin.identity else {}),
        **({"Details": _members(stored.details)} if stored.details else {}),
    }


def _members(details: Details) -> dict[str, int | str]:
    """Details by the names of members: `sender-start-ms` is `SenderStartMs`."""
    return {
        "".join(word.capitalize() for word in name.split("-")): value
        for name, value in details.items()
    }


def _describe_room_event(event: RoomEvent) -> tuple[RoomEventType, dict[str, int | str]]:
    """Type and details (docs/wire.md, 10.4)."""
    match event:
        case RoomCreated():
            return RoomEventType.CREATE_ROOM, {"UserId": event.user_id}
        case RoomDismissed():
            return RoomEventType.DISMISS_ROOM, {}
        case AnchorJoined():
            return RoomEventType.ENTER_ROOM, {
                "UserId": event.user_id,
                "Role": _ANCHOR_ROLE,
                "TerminalType": _OTHER_TERMINAL,
                "UserType": _WEBRTC_USER,
                "Reason": _ENTERED_NORMALLY,
            }
        case AnchorLeft():
            return RoomEventType.EXIT_ROOM, {
                "UserId": event.user_id,
                "Role": _ANCHOR_ROLE,
                "Reason": int(event.reason),
            }
        case MediaStarted():
            return _STARTS[event.kind], {"UserId": event.user_id}
        case MediaStopped():
            return _STOPS[event.kind], {"UserId": event.user_id, "Reason": _STOPPED_NORMALLY}
