"""The two actions on events, which are our own: list them, and have them sent again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from cloudslice.api.errors import ApiError, Code, Phrase
from cloudslice.config import AppSettings
from cloudslice.webhooks.history import EventQuery, ListedEvent, ListedState, Page

_NO_RECEIVER = Phrase(
    "The app has no `callback_url` in the settings: there is nobody to send events to.",
    "该应用未设置 `callback_url`，无法发送事件。",
)
_WHICH_EVENTS = Phrase(
    "Say which events to send again: at least one of `EventId`, `TaskId` and `Since`.",
    "请指定要重发的事件：`EventId`、`TaskId`、`Since` 至少一项。",
)

_WAITS_ANYWAY = Phrase(
    "Events whose `State` is waiting are sent anyway: only those that were delivered or given up "
    "can be sent again.",
    "`State` 为 waiting 的事件本来就会发送；只有 delivered 或 given-up 的事件可以重发。",
)


class EventService(Protocol):
    """Events on record."""

    async def find(self, query: EventQuery, marker: int, limit: int) -> Page:
        """Events from behind the id `marker` on, at most `limit`."""
        ...

    async def replay(self, query: EventQuery) -> int:
        """Send ended events again; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """A page of the events that are meant."""

    query: EventQuery
    marker: int
    limit: int


def parse_describe_events(values: Mapping[str, Any]) -> EventsRequest:
    """What values that fit `DESCRIBE_EVENTS` ask for."""
    return EventsRequest(_parse_query(values), values["Marker"], values["Limit"])


def parse_replay_events(values: Mapping[str, Any]) -> EventQuery:
    """What values that fit `REPLAY_EVENTS` ask for.

    Raises:
        ApiError: they mean all events of the app, or those that wait.
    """
    if not {"EventId", "TaskId", "Since"} & values.keys():
        raise ApiError(Code.MISSING_PARAMETER, _WHICH_EVENTS)
    if values.get("State") == ListedState.WAITING:
        raise ApiError(Code.INVALID_PARAMETER_VALUE, _WAITS_ANYWAY)
    return _parse_query(values)


class EventActions:
    """Carries them out."""

    def __init__(self, events: EventService) -> None:
        self._events = events

    async def describe(self, request: EventsRequest, _: AppSettings) -> Mapping[str, Any]:
        page = await self._events.find(request.query, request.marker, request.limit)
        outputs: dict[str, Any] = {"Events": [_render(event) for event in page.events]}
        if page.marker is not None:
            outputs["NextMarker"] = page.marker
        return outputs

    async def replay(self, query: EventQuery, app: AppSettings) -> Mapping[str, Any]:
        if not app.callback_url:
            raise ApiError(Code.FAILED_OPERATION, _NO_RECEIVER)
        return {"Count": await self._events.replay(query)}


def _parse_query(values: Mapping[str, Any]) -> EventQuery:
    state = values.get("State")
    return EventQuery(
        sdk_app_id=values["SdkAppId"],
        event_id=values.get("EventId"),
        task_id=values.get("TaskId"),
        since_ms=values.get("Since"),
        event_type=values.get("EventType"),
        state=None if state is None else ListedState(state),
    )


def _render(event: ListedEvent) -> dict[str, Any]:
    shown = {
        "EventId": event.id,
        "EventType": event.event_type,
        "State": event.state.value,
        "Attempts": event.attempts,
        "CreatedMs": event.created_ms,
        "EndedMs": event.ended_ms,
        "LastError": event.last_error,
        "Body": event.body.decode(),
    }
    return {name: value for name, value in shown.items() if value is not None}
