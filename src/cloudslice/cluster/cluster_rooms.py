"""The API's actions on rooms in a cluster: robots are reached by what is wanted of their tasks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode
from cloudslice.rooms.management import RoomNotFoundError, RoomServerError, RoomService
from cloudslice.tasks.store import StoreError


class ClusterRooms:
    """A `RoomService` over the servers that have the rooms, and over the robots of all nodes.

    Args:
        servers: have the people.
        store: is told what is wanted of robots.
        view: tells where robots are.
    """

    def __init__(self, servers: RoomService, store: KvTaskStore, view: ClusterView) -> None:
        self._servers = servers
        self._store = store
        self._view = view

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomService`."""
        return bool(self._view.tasks_in(room)) or await self._servers.exists(room)

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """See `RoomService`."""
        robots = self._robots(room)
        others = [each for each in user_ids if each not in robots]
        if others:
            await self._servers.remove_users(room, others)
        elif not await self.exists(room):
            raise RoomNotFoundError
        for user_id in robots.keys() & set(user_ids):
            await self._stop(robots[user_id], LeaveCode.REMOVED)

    async def dismiss(self, room: RoomKey) -> None:
        """See `RoomService`."""
        robots, is_there = self._robots(room), await self._servers.exists(room)
        if not robots and not is_there:
            raise RoomNotFoundError
        # Robots that see the room's end before they hear of this leave by another code.
        for task_ids in robots.values():
            await self._stop(task_ids, LeaveCode.ROOM_DISMISSED)
        if is_there:
            await self._servers.dismiss(room)

    def _robots(self, room: RoomKey) -> dict[str, list[str]]:
        """The TaskIds of a room's robots, by their UserIds."""
        robots: dict[str, list[str]] = {}
        for task_id, info in self._view.tasks_in(room).items():
            robots.setdefault(str(info.values.get("robot_user_id", "")), []).append(task_id)
        return robots

    async def _stop(self, task_ids: Sequence[str], code: LeaveCode) -> None:
        with _told():
            for task_id in task_ids:
                await self._store.set_stopping(task_id, code)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise RoomServerError(str(error)) from error
