"""Has a node deliver what the spool of another one holds, whose machine is gone.

1. That spool is opened as its own node would at a start: it is locked, growing slices are
   completed, and what nobody understands is set aside there.
2. Each slice's file is moved into the node's own spool, and then it is one of its own: uploaded
   under the name that it has, told, removed.
3. Only when all slices of a task are here are other nodes told that the former one has none.

A kill at any moment leaves each slice in one of the two spools, whole; to adopt again goes on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from cloudslice.bus import Bus
from cloudslice.config import Settings
from cloudslice.control_socket import ADOPT, ControlError, ControlSocket
from cloudslice.custody import Custody
from cloudslice.delivery import REPAIRS, SPOOL
from cloudslice.events import SliceLost
from cloudslice.ids import ObjectName
from cloudslice.metrics import DeliveryParts
from cloudslice.secrets import SecretBox
from cloudslice.slices import (
    DamagedSliceError,
    Repair,
    SliceKind,
    SliceOrigin,
    TaskRef,
    WaitingSlice,
)
from cloudslice.spool.files import read_regular
from cloudslice.spool.foreign_spool import AdoptionError, ForeignSpool, look_at
from cloudslice.spool.quarantine import DIRECTORY as QUARANTINE
from cloudslice.spool.slice_format import TAIL_BYTES, WHOLE, read_key
from cloudslice.spool.spool import Spool
from cloudslice.uploads.task_queue import TaskQueue

_GIB = 1024**3
_AT_ONCE = 100
"""Slices that are made durable at their new place together."""

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Adopted:
    """What was taken over."""

    slices: int = 0
    tasks: int = 0
    left: int = 0
    """Slices that the disk would not let be completed: they are still there."""


class Adoption:
    """Adopts spools, one at a time."""

    def __init__(
        self,
        delivery: DeliveryParts,
        own: Path,
        box: SecretBox,
        repairs: Mapping[SliceKind, Repair],
        custody: Custody,
    ) -> None:
        """
        Args:
            delivery: of this node.
            own: the directory of its spool.
            box: decrypts storage keys.
            repairs: for each kind how a file that was cut off is made valid.
            custody: tells others.
        """
        self._delivery = delivery
        self._own = own
        self._box = box
        self._repairs = repairs
        self._custody = custody
        self._is_free = asyncio.Lock()

    async def adopt(self, directory: Path) -> Adopted:
        """Take over all that a spool holds.

        Args:
            directory: the spool, or the data directory that it is in.

        Raises:
            AdoptionError: it cannot be adopted, or not all of it; to try again goes on.
            OSError: it cannot be read or written.
        """
        async with self._is_free:
            foreign = await asyncio.to_thread(look_at, directory, self._own, self._box)
            room = self._delivery.uploads.room_bytes
            if foreign.size > room:
                raise AdoptionError(
                    f"{foreign.path}: it holds {foreign.size / _GIB:.1f} GiB, and the node's spool "
                    f"takes {room / _GIB:.1f} GiB more (storage.spool_limit_gib)"
                )
            last_s = await self._custody.begin(foreign.node)
            log = _log.bind(spool=str(foreign.path), node=foreign.node)
            log.warning("adopting a spool")
            adopted = await self._take_over(foreign, last_s)
            log.warning("spool adopted", slices=adopted.slices, tasks=adopted.tasks)
            return adopted

    async def answer(self, directory: str) -> str:
        """Adopt, for who asks by the control socket; raises ControlError."""
        try:
            adopted = await self.adopt(Path(directory))
        except (AdoptionError, OSError) as error:
            raise ControlError(str(error)) from error
        text = f"{adopted.slices} slices of {adopted.tasks} tasks are this node's now"
        if adopted.left:
            text += f"; {adopted.left} could not be completed yet: adopt it again"
        return text

    async def _take_over(self, foreign: ForeignSpool, last_s: int | None) -> Adopted:
        before = {each.name for each in foreign.path.iterdir()}
        bus, lost = Bus(None), list[SliceLost]()
        bus.listen(SliceLost, lost.append)
        adopted = Adopted()
        source = Spool(
            foreign.path,
            foreign.box,
            self._repairs,
            bus,
            self._delivery.clock.now_ms,
            is_new_clock=True,  # ages count by this node's clock
        )
        async with source:
            await source.flush()
            for task, waiting in source.take_waiting().items():
                losses = [each for each in lost if each.origin.task_id == task.task_id]
                move = _TaskMove(self._delivery, source, foreign, self._custody, last_s)
                adopted.slices += await move.run(task, waiting, losses)
                adopted.tasks += 1
                adopted.left += source.count_open(task.task_id)
        if not adopted.left:
            quarantine = foreign.path / QUARANTINE
            damaged = {each for each in before if (quarantine / each).is_dir()}
            await self._custody.finish(foreign.node, damaged)
        return adopted


@dataclass(slots=True)
class _TaskMove:
    """Moves what there is of one task."""

    delivery: DeliveryParts
    source: Spool
    foreign: ForeignSpool
    custody: Custody
    last_s: int | None

    async def run(
        self, task: TaskRef, waiting: Sequence[WaitingSlice], losses: Sequence[SliceLost]
    ) -> int:
        """How many slices were moved."""
        source, count, node = self.source, 0, self.foreign.node
        if waiting or losses:
            bucket = source.load_bucket(task.task_id)
            await self.delivery.spool.open(task, bucket)
            async with self.delivery.uploads.queues.filling(task) as queue:
                for each in losses:
                    self.delivery.events.publish(each)
                for at in range(0, len(waiting), _AT_ONCE):
                    count += await self._move(task, waiting[at : at + _AT_ONCE], queue)
                if not source.count_open(task.task_id):
                    await self.custody.hand_over(task, node, has_slices=True)
        elif not source.count_open(task.task_id):
            await self.custody.hand_over(task, node, has_slices=False)
        if not source.count_open(task.task_id):
            source.close(task.task_id)
        return count

    async def _move(self, task: TaskRef, some: Sequence[WaitingSlice], queue: TaskQueue) -> int:
        """How many of some slices are this node's now."""
        task_id = task.task_id
        directory = self.foreign.path / task_id
        coming = {each: directory / f"{each.name}{WHOLE}" for each in some}
        keys = await asyncio.to_thread(lambda: {each: _read_key(coming[each]) for each in some})
        for each, key in keys.items():
            if key is None:
                continue  # its upload finds out what is wrong with it, and tells
            name = ObjectName.from_key(key)
            if self.last_s is not None and name.utc_second > self.last_s:
                reason = "it was recorded after another node had taken the room"
                del coming[each]
                self.source.set_aside(task_id, each.name, reason)
                origin = SliceOrigin(task_id, name.user_id, name.kind, name.extension)
                self.delivery.events.publish(SliceLost(origin, reason))
            else:
                self.custody.admit(key)
        await self.delivery.spool.take_in(task_id, coming, queue.add)
        return len(coming)


def _read_key(path: Path) -> str | None:
    """The object key of a slice, if its file says one."""
    try:
        key = read_key(read_regular(path, last=TAIL_BYTES))
        ObjectName.from_key(key)
    except (DamagedSliceError, ValueError):
        return None
    return key


async def open_control(
    stack: AsyncExitStack,
    settings: Settings,
    delivery: DeliveryParts,
    box: SecretBox,
    custody: Custody,
) -> None:
    """Have commands on this machine ask the node to adopt spools, until `stack` is left."""
    own = settings.data_dir / SPOOL
    adoption = Adoption(delivery, own, box, REPAIRS, custody)
    await stack.enter_async_context(ControlSocket(settings.data_dir, {ADOPT: adoption.answer}))
