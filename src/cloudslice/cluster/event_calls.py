"""Listing and replaying events, asked of the node that sends an app's webhooks, by NATS requests.

A request and its answer are JSON.
"""

import asyncio
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Any, Self

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from cloudslice.cluster.app_sending import AppSending, SupersededError
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.registry import Registry, RegistryError, translated
from cloudslice.faults import Faults
from cloudslice.tasks.model import NoRegistryError
from cloudslice.webhooks.history import EventQuery, ListedEvent, ListedState, Page

_SUBJECT = "cloudslice.ask.events."
"""Before the node's name."""
_ANSWER_S = 10.0
_SENDER_S = 5.0
"""So long a sender is waited for: another node may be about to become it."""
_LOOK_EVERY_S = 0.25
_PAGE_BYTES = 500_000
"""Of bodies in an answer: NATS takes a message of 1 MiB, and a body may grow as text."""


class EventCalls:
    """Answers for those apps that this node sends for; an async context manager."""

    def __init__(
        self,
        registry: Registry,
        node: str,
        find_sending: Callable[[int], AppSending | None],
        faults: Faults,
    ) -> None:
        self._registry = registry
        self._subject = _SUBJECT + node
        self._find_sending = find_sending
        self._faults = faults
        self._subscription: Subscription | None = None
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Raises RegistryError if there is no connection."""
        with translated():
            self._subscription = await self._registry.client.subscribe(self._subject, cb=self._take)
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
        task = asyncio.create_task(self._answer(message, request))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, message: Msg, request: dict[str, Any]) -> None:
        answer: dict[str, Any]
        sending = self._find_sending(request["query"]["sdk_app_id"])
        try:
            answer = {} if sending is None else await _carry_out(request, sending)
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

    def __init__(self, registry: Registry, view: ClusterView, apps: Collection[int]) -> None:
        """
        Args:
            registry: has the connection.
            view: tells who sends.
            apps: those that want to be called: of others there are no events.
        """
        self._registry = registry
        self._view = view
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
        view, sdk_app_id = self._view, request["query"]["sdk_app_id"]
        until = asyncio.get_running_loop().time() + _SENDER_S
        while True:
            sender = view.sender_of(sdk_app_id)
            if sender is not None and (answer := await self._ask_node(sender.node, request)):
                return answer
            if asyncio.get_running_loop().time() > until:
                raise NoRegistryError("no node sends the app's webhooks at this moment")
            await view.wait_for(partial(self._has_changed, sdk_app_id, sender), _LOOK_EVERY_S)

    def _has_changed(self, sdk_app_id: int, sender: NodeInfo | None) -> bool:
        return self._view.sender_of(sdk_app_id) != sender

    async def _ask_node(self, node: str, request: dict[str, Any]) -> dict[str, Any]:
        """What a node answers; nothing, if it does not send for the app."""
        try:
            self._registry.check_connection()
            with translated():
                try:
                    message = await self._registry.client.request(
                        _SUBJECT + node, json.dumps(request).encode(), timeout=_ANSWER_S
                    )
                except NoRespondersError:
                    return {}
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
