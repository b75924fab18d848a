"""Moves the rooms of a node that is stopped to others, one after the other, before it ends.

1. Others are told first that this node takes nothing more.
2. A room's slices end here, its tasks are released, and its record then names the other node. So
   nobody waits for a lease to run out, and names need no seconds that are to come.
3. Anchors of a builtin room are put out then: they come again by the address that they know.
4. What is in the spool is uploaded and told, as long as there is time. What is not is delivered
   when the node is started again.
"""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from cloudslice.clock import Clock
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.placement import order_nodes
from cloudslice.cluster.registry import ConflictError, RegistryError
from cloudslice.cluster.room_ownership import RoomOwnership
from cloudslice.cluster.task_supervisor import TaskSupervisor
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey

_AT_A_TIME = 4
"""Rooms under way: the other node is to enter each of them within its usual time."""
_ENTERED_WITHIN_S = 3.0
"""Seconds after which the next room is moved, though this one is not told to be run yet."""
_ENDING_S = 2.0
"""Seconds for a task that is being stopped to end here."""
_NAMES_MARGIN_S = 1
"""A slice is named by a later second than its start where two of a user begin in one."""

_log = structlog.get_logger(__name__)


class Drain:
    """See the module.

    Args:
        view: tells who can take rooms.
        lease: of this node.
        ownership: gives rooms to others.
        supervisor: releases their tasks.
        clock: for the second of the cut.
        wait_delivered: waits until all that is in the spool is uploaded and told.
        within_s: so long it may take.
    """

    def __init__(
        self,
        view: ClusterView,
        lease: NodeLease,
        ownership: RoomOwnership,
        supervisor: TaskSupervisor,
        clock: Clock,
        wait_delivered: Callable[[], Awaitable[None]],
        within_s: float,
    ) -> None:
        self.faults = Faults("drain")
        self.moved = 0
        """How many rooms other nodes have now."""
        self._view = view
        self._lease = lease
        self._ownership = ownership
        self._supervisor = supervisor
        self._clock = clock
        self._wait_delivered = wait_delivered
        self._within_s = within_s

    async def run(self) -> None:
        """Move all rooms. What is not moved in time is given back when the node ends."""
        self._ownership.stop_taking()
        self._lease.tell()
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._within_s):
                await self._move_all()
                _log.info(
                    "rooms are moved",
                    rooms=self.moved,
                    seconds=round(self._clock.monotonic() - began, 1),
                )
                await self._wait_delivered()
        except TimeoutError:
            _log.warning("the time to drain is over", rooms_left=self._ownership.count)

    async def _move_all(self) -> None:
        limit = asyncio.Semaphore(_AT_A_TIME)

        async def move(room: RoomKey) -> None:
            async with limit:
                try:
                    await self._move(room)
                except (RegistryError, ConflictError) as error:
                    _log.warning("room is not moved", reason=str(error), room_id=room.wire_id)
                except Exception as error:
                    self.faults.caught(error, room_id=room.wire_id)

        async with asyncio.TaskGroup() as group:
            for room in self._ownership.rooms:
                group.create_task(move(room))

    async def _move(self, room: RoomKey) -> None:
        view, supervisor = self._view, self._supervisor
        await view.wait_for(lambda: not supervisor.is_ending(room), _ENDING_S)
        target = self._find_target(room)
        if target is None or self._ownership.find_token(room) is None:
            return
        names_after_s = self._clock.utc_ms() // 1000 + _NAMES_MARGIN_S
        try:
            await supervisor.release(room, names_after_s)
            await self._ownership.hand_over(room, target)
        finally:
            supervisor.note_moved(room)
        self.moved += 1
        await view.wait_for(lambda: self._is_run(room), _ENTERED_WITHIN_S)

    def _find_target(self, room: RoomKey) -> NodeInfo | None:
        view = self._view
        others = [each for each in view.nodes.values() if each.node != self._lease.node]
        names = order_nodes(room, None, others, view.room_counts)
        return view.nodes[names[0]] if names else None

    def _is_run(self, room: RoomKey) -> bool:
        """Whether the room's new owner has told what its tasks are doing."""
        view = self._view
        owner = view.rooms.get(room)
        return owner is None or all(
            view.statuses.get(task_id, ("", 0))[1] >= owner.revision
            for task_id in view.tasks_in(room)
        )
