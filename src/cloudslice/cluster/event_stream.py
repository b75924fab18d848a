"""The stream in which a cluster has its events: one order of them, kept by NATS JetStream.

    cloudslice.event.<app>.<node>.<lane>    events of an app that a node has recorded
    cloudslice.event.<app>.once.<key>       events that come once of a task, whoever records them
    cloudslice.step.<app>                   what has become of an app's events

Every message is added only if the last one of its subject is known. So none is there twice, however
often and however late it is repeated. Who reads an app reads all of its subjects, in order, from
any number on.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

import structlog
from nats.aio.msg import Msg
from nats.js import api
from nats.js.errors import NotFoundError

from cloudslice.cluster.event_messages import Step, StreamEvent
from cloudslice.cluster.registry import Registry, RegistryError, expecting, translated

_STREAM = "cloudslice_events"
_EVENT = "cloudslice.event."
_STEP = "cloudslice.step."
_PULLED = 200
"""Messages that are asked for at a time."""
_QUIET_S = 3.0
"""So often the server says at least that there is nothing new."""
_MISSED_S = 5.0
"""Who hears nothing for so long asks anew: the connection was lost, or the consumer."""
_FORGOTTEN_S = 30.0
"""The server forgets a consumer that asks for nothing."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A message of the stream with its number."""

    number: int
    message: StreamEvent | Step | None
    """None: it cannot be read."""


def node_subject(sdk_app_id: int, node: str, lane: int) -> str:
    """Of events of an app that a node has recorded."""
    return f"{_EVENT}{sdk_app_id}.{node}.{lane}"


def once_subject(sdk_app_id: int, key: str) -> str:
    """Of an event that has a `once_key`."""
    return f"{_EVENT}{sdk_app_id}.once.{key}"


class EventStream:
    """The stream. All methods but `read` answer within some seconds, or raise RegistryError."""

    def __init__(self, registry: Registry) -> None:
        """Takes what has the connection."""
        self._registry = registry
        self._jetstream = registry.jetstream

    async def open(self, *, replicas: int, kept_s: float) -> None:
        """Make the stream, if it is not there.

        Args:
            replicas: how many servers hold it, when it is made.
            kept_s: after so many seconds an event is gone, whatever has become of it.
        """
        self._registry.check_connection()
        with translated():
            try:
                config = (await self._jetstream.stream_info(_STREAM)).config
                if config.max_age != kept_s:
                    await self._jetstream.update_stream(config, max_age=kept_s)
            except NotFoundError:
                await self._jetstream.add_stream(
                    api.StreamConfig(
                        name=_STREAM,
                        subjects=[f"{_EVENT}>", f"{_STEP}*"],
                        storage=api.StorageType.FILE,
                        num_replicas=replicas,
                        max_age=kept_s,
                    )
                )

    async def add(self, subject: str, event: StreamEvent, after: int) -> int:
        """Add an event, if the last one of its subject is number `after`; its number.

        Raises:
            ConflictError: it is not.
        """
        return await self._registry.publish(subject, event.to_data(), expecting(after))

    async def last(self, subject: str) -> tuple[int, StreamEvent | Step | None]:
        """The last message of a subject, with its number: 0 if there is none."""
        self._registry.check_connection()
        with translated(), suppress(NotFoundError):
            found = await self._jetstream.get_msg(_STREAM, subject=subject)
            return found.seq or 0, _parse(subject, found.data or b"")
        return 0, None

    async def add_step(self, sdk_app_id: int, step: Step, after: int) -> int:
        """Add what has become of events, if the last such message is number `after`; its number.

        Raises:
            ConflictError: it is not: somebody else sends.
        """
        subject = f"{_STEP}{sdk_app_id}"
        return await self._registry.publish(subject, step.to_data(), expecting(after))

    async def last_step(self, sdk_app_id: int) -> tuple[int, Step | None]:
        """The last message of what has become of events, with its number: 0 if there is none."""
        number, step = await self.last(f"{_STEP}{sdk_app_id}")
        return number, step if isinstance(step, Step) else None

    async def forget(self, sdk_app_id: int, before: int, steps_before: int) -> None:
        """Delete an app's events and steps with lower numbers."""
        self._registry.check_connection()
        with translated():
            for subject, number in (
                (f"{_EVENT}{sdk_app_id}.>", before),
                (f"{_STEP}{sdk_app_id}", steps_before),
            ):
                await self._jetstream.purge_stream(_STREAM, seq=number, subject=subject)

    async def read(self, sdk_app_id: int, first: int) -> AsyncGenerator[list[Numbered], None]:
        """An app's messages from number `first` on, in order, some at a time; for ever. To be
        closed by who reads it no more.

        A `RegistryError` ends it when the connection or the consumer is lost. Then it is to be read
        anew, from behind what was read.
        """
        client = self._registry.client
        self._registry.check_connection()
        # Not by the client's own pulls: they wait for as many messages as were asked for.
        answers: asyncio.Queue[Msg] = asyncio.Queue()
        with translated():
            inbox = client.new_inbox()
            subscription = await client.subscribe(inbox, cb=answers.put)
            try:
                consumer = await self._make_consumer(sdk_app_id, first, inbox.rpartition(".")[2])
                pulled = f"$JS.API.CONSUMER.MSG.NEXT.{_STREAM}.{consumer}"
                request = json.dumps({"batch": _PULLED, "expires": round(_QUIET_S * 1e9)}).encode()
                wanted = count = 0
                while True:
                    if wanted <= 0:
                        await client.publish(pulled, request, reply=inbox)
                        wanted = _PULLED
                    found: list[Numbered] = []
                    for answer in await _take(answers):
                        if status := (answer.headers or {}).get("Status"):
                            _check(status)
                            wanted = 0
                            continue
                        about = answer.metadata.sequence
                        wanted, count = wanted - 1, count + 1
                        if about.consumer != count:
                            raise RegistryError("NATS has left out an event")
                        found.append(Numbered(about.stream, _parse(answer.subject, answer.data)))
                    if found:
                        yield found
            finally:
                await subscription.unsubscribe()

    async def _make_consumer(self, sdk_app_id: int, first: int, name: str) -> str:
        config = api.ConsumerConfig(
            name=name,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=max(first, 1),
            ack_policy=api.AckPolicy.NONE,
            filter_subjects=[f"{_EVENT}{sdk_app_id}.>", f"{_STEP}{sdk_app_id}"],
            inactive_threshold=_FORGOTTEN_S,
            num_replicas=1,
            mem_storage=True,
        )
        return (await self._jetstream.add_consumer(_STREAM, config)).name


async def _take(answers: asyncio.Queue[Msg]) -> list[Msg]:
    """What there is, at least one."""
    async with asyncio.timeout(_MISSED_S):
        taken = [await answers.get()]
    while not answers.empty():
        taken.append(answers.get_nowait())
    return taken


def _check(status: str) -> None:
    """Raises RegistryError, unless the status says that there is nothing new."""
    if status not in ("404", "408"):
        raise RegistryError(f"NATS has forgotten who reads events: status {status}")


def _parse(subject: str, data: bytes) -> StreamEvent | Step | None:
    try:
        return (StreamEvent if subject.startswith(_EVENT) else Step).from_data(data)
    except ValueError as error:
        _log.error("a message of the stream of events cannot be read", reason=str(error))
        return None
