"""Listing and replaying events, asked of the node that sends an app's webhooks, by NATS requests.

A request and its answer are JSON. Every node that sends hears of each request, and the one that
sends for the app answers.
"""

import asyncio
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from cloudslice.cluster.app_sending import AppSending, SupersededError
from cloudslice.cluster.registry import Registry, RegistryError, translated
from cloudslice.faults import Faults
from cloudslice.tasks.model import NoRegistryError
from cloudslice.webhooks.history import EventQuery, ListedEvent, ListedState, Page

_SUBJECT = "cloudslice.ask.events"
_ANSWER_S = 10.0
_PAGE_BYTES = 500_000
"""Of bodies in an answer: NATS takes a message of 1 MiB, and a body may grow as text."""


class EventCalls:
    """Answers for those apps that this node sends for; an async context manager."""

    def __init__(
        self, registry: Registry, find_sending: Callable[[int], AppSending | None], faults: Faults
    ) -> None:
        self._registry = registry
        self._find_sending = find_sending
        self._faults = faults
        self._subscription: Subscription | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Raises RegistryError if there is no connection."""
        with translated():
            self._subscription = await self._registry.client.subscribe(_SUBJECT, cb=self._take)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._subscription is not None:
            with suppress(RegistryError), translated():
                await self._subscription.unsubscribe()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    async def _take(self, message: Msg) -> None:
        request = json.loads(message.data)
        sending = self._find_sending(request["query"]["sdk_app_id"])
        if sending is not None:
            task = asyncio.create_task(self._answer(message, request, sending))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Msg, request: dict[str, Any], sending: AppSending) -> None:
        try:
            answer = await _carry_out(request, sending)
        except TimeoutError:
            answer = {"error": "the node that sends webhooks has begun a moment ago"}
        except (SupersededError, RegistryError) as error:
            answer = {"error": str(error)}
        except Exception as error:
            self._faults.caught(error)
            answer = {"error": "a fault of the server"}
        try:
            await message.respond(json.dumps(answer).encode())
        except NatsError as error:
            self._faults.caught(error)


class ClusterEvents:
    """An `EventService` that asks whoever sends the app's webhooks."""

    def __init__(self, registry: Registry, apps: Collection[int]) -> None:
        """Takes the apps that want to be called: of others there are no events."""
        self._registry = registry
        self._apps = apps

    async def find(self, query: EventQuery, marker: int, limit: int) -> Page:
        """See `EventService`; raises NoRegistryError if nobody answers."""
        if query.sdk_app_id not in self._apps:
            return Page([], None)
        answer = await self._ask({"query": asdict(query), "marker": marker, "limit": limit})
        events = [
            ListedEvent(
                **each | {"state": ListedState(each["state"]), "body": each["body"].encode()}
            )
            for each in answer["events"]
        ]
        return Page(events, answer["marker"])

    async def replay(self, query: EventQuery) -> int:
        """See `EventService`; raises NoRegistryError if nobody answers."""
        return int((await self._ask({"query": asdict(query), "replay": True}))["count"])

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            self._registry.check_connection()
            with translated():
                message = await self._registry.client.request(
                    _SUBJECT, json.dumps(request).encode(), timeout=_ANSWER_S
                )
        except RegistryError as error:
            raise NoRegistryError(str(error)) from error
        answer: dict[str, Any] = json.loads(message.data)
        if "error" in answer:
            raise NoRegistryError(answer["error"])
        return answer


async def _carry_out(request: dict[str, Any], sending: AppSending) -> dict[str, Any]:
    values = request["query"]
    state = values["state"]
    query = EventQuery(**values | {"state": None if state is None else ListedState(state)})
    if request.get("replay"):
        return {"count": await sending.replay(query)}
    page = await sending.find(query, request["marker"], request["limit"])
    events: list[dict[str, Any]] = []
    size, marker = 0, page.marker
    for event in page.events:
        size += len(event.body)
        if events and size > _PAGE_BYTES:
            marker = events[-1]["id"]
            break
        events.append(asdict(event) | {"body": event.body.decode()})
    return {"events": events, "marker": marker}
