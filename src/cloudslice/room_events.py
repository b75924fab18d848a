"""Room and media webhooks: what rooms report, as docs/wire.md, 10.4, has it."""

from collections.abc import Callable

from cloudslice.config import Settings
from cloudslice.delivery.events import Event, RoomEventType, room_event
from cloudslice.ids import RoomKey, TrackKind
from cloudslice.rooms.observer import ExitReason

_ANCHOR_ROLE = 20
_OTHER_TERMINAL = 100
_WEBRTC_USER = 1
_ENTERED_NORMALLY = 1
_STOPPED_NORMALLY = 0

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


class RoomEvents:
    """A RoomObserver that has webhooks sent to those apps that want to know.

    Args:
        settings: whether an app does.
        tell: takes the events.
    """

    def __init__(self, settings: Settings, tell: Callable[[Event], None]) -> None:
        self._settings = settings
        self._tell = tell

    def on_room_created(self, room: RoomKey, user_id: str) -> None:
        self._report(room, RoomEventType.CREATE_ROOM, UserId=user_id)

    def on_room_dismissed(self, room: RoomKey) -> None:
        self._report(room, RoomEventType.DISMISS_ROOM)

    def on_anchor_entered(self, room: RoomKey, user_id: str) -> None:
        self._report(
            room,
            RoomEventType.ENTER_ROOM,
            UserId=user_id,
            Role=_ANCHOR_ROLE,
            TerminalType=_OTHER_TERMINAL,
            UserType=_WEBRTC_USER,
            Reason=_ENTERED_NORMALLY,
        )

    def on_anchor_left(self, room: RoomKey, user_id: str, reason: ExitReason) -> None:
        self._report(
            room, RoomEventType.EXIT_ROOM, UserId=user_id, Role=_ANCHOR_ROLE, Reason=int(reason)
        )

    def on_track_started(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        self._report(room, _STARTS[kind], UserId=user_id)

    def on_track_stopped(self, room: RoomKey, user_id: str, kind: TrackKind) -> None:
        self._report(room, _STOPS[kind], UserId=user_id, Reason=_STOPPED_NORMALLY)

    def _report(self, room: RoomKey, event_type: RoomEventType, **details: int | str) -> None:
        app = self._settings.app(room.sdk_app_id)
        if app is not None and app.room_events:
            self._tell(room_event(room.sdk_app_id, room.wire_id, event_type, **details))
