"""Hands the events that a node has recorded over to the cluster's stream, in order.

1. An event is in the node's database until the stream has it: NATS may be gone, or the process
   killed, at any moment.
2. Events about one subject go by one lane, one after the other. Each is added to the stream behind
   the lane's last one: whether an event whose answer was lost is there is told by the lane.
"""

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import partial
from zlib import crc32

import structlog

from cloudslice.cluster.event_messages import StreamEvent
from cloudslice.cluster.event_stream import EventStream, node_subject, once_subject
from cloudslice.cluster.registry import ConflictError, RegistryError
from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.gathering import Gatherer

_LANES = 16
"""Of a node and an app; so many events are under way at a time."""
_AT_ONCE = 256
_FORGET_WITHIN_S = 1.0
"""That an event was handed over is on record so many seconds later at most."""
_RETRY_S = 0.5
_FAULT_PAUSE_S = 5.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Lane:
    last: int
    """The number of its last event in the stream."""
    handed_to: int
    """The local id up to which a former process has handed over all of it."""


class Handover:
    """Hands over what is in the table of webhooks of a node's database."""

    def __init__(self, database: Database, stream: EventStream, node: str, faults: Faults) -> None:
        self._database = database
        self._stream = stream
        self._node = node
        self._faults = faults
        self._lanes: dict[tuple[int, int], _Lane] = {}
        self._after_id = 0
        self._news = asyncio.Event()
        self._has_moved = asyncio.Event()
        self._is_lost = False
        self._handed: Gatherer[int] = Gatherer(
            database,
            _forget,
            lambda _ids: None,
            within_s=_FORGET_WITHIN_S,
            what="forget events that were handed over",
            caught=faults.caught,
        )

    def wake(self) -> None:
        """There is a new event, on record."""
        self._news.set()

    async def wait(self) -> None:
        """Wait until all events that are on record now are handed over."""
        last_id = await self._database.persist(_find_last)
        while self._after_id < last_id:
            self._has_moved.clear()
            await self._has_moved.wait()

    async def run(self) -> None:
        """Hand over until cancelled."""
        await self._database.persist(_prepare)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._handed.run())
            while True:
                self._news.clear()
                try:
                    if await self._hand_over_some():
                        continue
                except RegistryError as error:
                    self._note_lost(str(error))
                    await asyncio.sleep(_RETRY_S)
                    continue
                except Exception as error:
                    self._faults.caught(error)
                    await asyncio.sleep(_FAULT_PAUSE_S)
                    continue
                await self._news.wait()

    async def _hand_over_some(self) -> bool:
        """Hand over the next events; whether there were any."""
        found = await self._database.persist(partial(_find, after_id=self._after_id))
        by_lane: defaultdict[tuple[int, int], list[StreamEvent]] = defaultdict(list)
        for sdk_app_id, event in found:
            by_lane[sdk_app_id, crc32(event.subject.encode()) % _LANES].append(event)
        lanes = [self._hand_over_lane(lane, events) for lane, events in by_lane.items()]
        errors = [
            each
            for each in await asyncio.gather(*lanes, return_exceptions=True)
            if isinstance(each, BaseException)
        ]
        if errors:
            raise errors[0]
        if self._is_lost:
            self._is_lost = False
            _log.info("events are handed over again")
        for _, event in found:
            self._after_id = event.local_id
            self._handed.add(event.local_id)
        self._has_moved.set()
        return bool(found)

    async def _hand_over_lane(self, at: tuple[int, int], events: Iterable[StreamEvent]) -> None:
        sdk_app_id, number = at
        subject = node_subject(sdk_app_id, self._node, number)
        lane = self._lanes.get(at)
        if lane is None:
            lane = self._lanes[at] = await self._find_lane(subject)
        for event in events:
            if event.local_id <= lane.handed_to:
                continue
            if key := event.once_key:
                try:
                    await self._stream.add(once_subject(sdk_app_id, key), event, 0)
                except ConflictError:
                    _log.info("was told already", event_type=event.event_type, task=event.subject)
            else:
                await self._add(subject, lane, event)
            lane.handed_to = event.local_id

    async def _find_lane(self, subject: str) -> _Lane:
        last, known = await self._stream.last(subject)
        if isinstance(known, StreamEvent) and await self._database.persist(
            partial(_is_there, event=known)
        ):
            return _Lane(last, known.local_id)
        # A node's database that was lost counts from one again: only what is the same is the same.
        return _Lane(last, 0)

    async def _add(self, subject: str, lane: _Lane, event: StreamEvent) -> None:
        known: object = None
        while known != event:
            try:
                lane.last = await self._stream.add(subject, event, lane.last)
                break
            except ConflictError:
                # It is there, and the answer was lost; or the last one is no longer kept.
                lane.last, known = await self._stream.last(subject)

    def _note_lost(self, reason: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            _log.warning("events are not handed over, will try again", reason=reason)


def _prepare(connection: sqlite3.Connection) -> None:
    """Nothing is sent from this table: what a single node has ended there is listed nowhere."""
    connection.execute("DELETE FROM webhooks WHERE state >= 2")


def _find_last(connection: sqlite3.Connection) -> int:
    (last_id,) = connection.execute("SELECT max(id) FROM webhooks").fetchone()
    return last_id or 0


def _find(connection: sqlite3.Connection, after_id: int) -> list[tuple[int, StreamEvent]]:
    rows = connection.execute(
        "SELECT sdk_app_id, id, subject, event_type, created_ms, body FROM webhooks"
        " WHERE id > ? ORDER BY id LIMIT ?",
        (after_id, _AT_ONCE),
    )
    return [(sdk_app_id, StreamEvent(*event)) for sdk_app_id, *event in rows]


def _is_there(connection: sqlite3.Connection, event: StreamEvent) -> bool:
    found = connection.execute(
        "SELECT body FROM webhooks WHERE id = ? AND subject = ?", (event.local_id, event.subject)
    ).fetchone()
    return found is not None and found[0] == event.body


def _forget(connection: sqlite3.Connection, ids: Collection[int]) -> None:
    connection.executemany("DELETE FROM webhooks WHERE id = ?", [(each,) for each in ids])
