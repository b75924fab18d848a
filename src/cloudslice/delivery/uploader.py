"""Runs a lane for each task that has slices to upload or is to be told of its end."""

import asyncio
import sqlite3
from collections.abc import Iterable
from functools import partial

import structlog

from cloudslice.delivery import consignors, slices
from cloudslice.delivery.lane import Lane
from cloudslice.delivery.slices import SliceRecord
from cloudslice.delivery.uploads import UploadContext
from cloudslice.uploads.storage_errors import StorageError

_log = structlog.get_logger(__name__)


class Uploader:
    """Uploads what the spool holds, until cancelled."""

    def __init__(self, context: UploadContext) -> None:
        self._context = context
        self._lanes: dict[str, Lane] = {}
        self._group: asyncio.TaskGroup | None = None
        self._undroppable: set[int] = set()  # slices that could not be given up, by a fault

    async def run(self, ready: asyncio.Event) -> None:
        """Upload until cancelled; `ready` is set once `take` and `end` may be called."""
        waiting, ended = await self._context.database.persist(_take_up)
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for task_id in waiting:
                    self._find_lane(task_id, is_behind=True)
                for task_id in ended:
                    self.end(task_id)
                ready.set()
                await self._context.receipts.run()
            finally:
                self._group = None

    def take(self, records: Iterable[SliceRecord]) -> None:
        """There are new slices; if not running, they wait for the next start."""
        for record in records:
            if lane := self._find_lane(record.origin.task_id):
                lane.take(record)

    def end(self, task_id: str) -> None:
        """A task has ended, which is on record."""
        if lane := self._find_lane(task_id):
            lane.end()

    def settle(self, task_ids: Iterable[str]) -> None:
        """Slices of tasks are off the record that were not to be uploaded yet."""
        for task_id in task_ids:
            if lane := self._lanes.get(task_id):
                lane.settle()

    async def make_room(self, size: int) -> int:
        """Give up the oldest waiting slices of all tasks to free `size` bytes; how many it were."""
        context = self._context
        lanes = list(self._lanes.values())
        for each in lanes:
            each.look()  # what it holds in memory may be dropped
        exclude = {slice_id for each in lanes for slice_id in each.under_way} | self._undroppable
        oldest = await context.database.persist(lambda c: slices.find_oldest(c, size, exclude))
        dropped: list[SliceRecord] = []
        for task_id in dict.fromkeys(record.origin.task_id for record in oldest):
            records = [record for record in oldest if record.origin.task_id == task_id]
            try:
                dropped += await self._drop(task_id, records)
            except Exception as error:
                context.caught(error, task_id=task_id)
                self._undroppable.update(record.id for record in records)
        missing = size - sum(record.size for record in dropped)
        if missing > 0 and not self._undroppable.isdisjoint(record.id for record in oldest):
            return len(dropped) + await self.make_room(missing)
        return len(dropped)

    async def _drop(self, task_id: str, records: list[SliceRecord]) -> list[SliceRecord]:
        """Give up waiting slices of a task; those that were still on record."""
        context = self._context
        error = StorageError(
            0, "SpoolFull", "The oldest waiting slices were dropped to make room for new ones."
        )
        dropped = await context.database.persist(
            partial(context.ledger.give_up, records=records, error=error)
        )
        for record in dropped:
            context.spool.remove(record)
            _log.error("slice dropped", task_id=task_id, key=record.object_key)
        context.counters.dropped += len(dropped)
        if dropped and (lane := self._find_lane(task_id)):
            lane.look()
        return dropped

    def _find_lane(self, task_id: str, *, is_behind: bool = False) -> Lane | None:
        """The lane of a task, made if it is not there; None if not running."""
        lane = self._lanes.get(task_id)
        if lane is None and self._group is not None:
            lane = self._lanes[task_id] = Lane(task_id, self._context, is_behind=is_behind)
            self._group.create_task(self._run_lane(task_id, lane))
        return lane

    async def _run_lane(self, task_id: str, lane: Lane) -> None:
        try:
            await lane.run()
        except Exception as error:
            self._context.caught(error, task_id=task_id)
            await asyncio.sleep(self._context.pace.first_s)
            del self._lanes[task_id]
            if (heir := self._find_lane(task_id, is_behind=True)) and lane.has_ended:
                heir.end()
        else:
            del self._lanes[task_id]


def _take_up(connection: sqlite3.Connection) -> tuple[list[str], list[str]]:
    """The tasks that a former process has left with waiting slices, and those with their end."""
    slices.hasten(connection)
    return slices.tasks_with_slices(connection), consignors.find_ended(connection)
