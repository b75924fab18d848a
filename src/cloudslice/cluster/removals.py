"""RemoveUser and DismissRoom of builtin rooms in a cluster: the node that is called writes what is
wanted, the node that has the room does it and says so.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.ending import end
from cloudslice.cluster.registry import ConflictError, Registry, RegistryError
from cloudslice.cluster.room_ownership import RoomOwnership
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.rooms.management import RoomNotFoundError, RoomServerError, RoomService

_KEPT_S = 10
"""What nobody has done by then is not done any more."""
_WITHIN_S = 4.0


class DistantRooms:
    """The builtin rooms of all nodes, as one that has none sees them: a `RoomService`."""

    def __init__(self, registry: Registry, view: ClusterView) -> None:
        self._registry = registry
        self._view = view

    async def check(self, key: RoomKey, robot_user_id: str) -> None:
        """See `RoomProvider`: builtin rooms can always be entered."""

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomService`."""
        return self._view.owner_of(room) is not None

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """See `RoomService`."""
        await self._ask(room, {"users": list(user_ids)})

    async def dismiss(self, room: RoomKey) -> None:
        """See `RoomService`."""
        await self._ask(room, {})

    async def _ask(self, room: RoomKey, wanted: dict[str, list[str]]) -> None:
        if not await self.exists(room):
            raise RoomNotFoundError
        key = keys.removal_key(room, secrets.token_hex(8))
        try:
            await self._registry.create(key, json.dumps(wanted).encode(), ttl_s=_KEPT_S)
        except RegistryError as error:
            raise RoomServerError(str(error)) from error
        await self._view.wait_for(lambda: self._is_done(key), _WITHIN_S)
        if not self._is_done(key):
            raise RoomServerError("the node that has the room gives no answer")

    def _is_done(self, key: str) -> bool:
        return "is_done" in self._view.removals.get(key, {})


class Removals:
    """Does what is wanted in the rooms of this node; an async context manager.

    Args:
        registry: is told that it is done.
        view: tells what is wanted.
        ownership: tells which rooms are this node's.
        rooms: are here.
    """

    def __init__(
        self, registry: Registry, view: ClusterView, ownership: RoomOwnership, rooms: RoomService
    ) -> None:
        self.faults = Faults("removals")
        self._registry = registry
        self._view = view
        self._ownership = ownership
        self._rooms = rooms
        self._keys: asyncio.Queue[str] = asyncio.Queue()
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._view.listen(self._note)
        self._run = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._run is not None:
            await end(self._run)

    def _note(self, key: str) -> None:
        if key.startswith(keys.REMOVAL):
            self._keys.put_nowait(key)

    async def _work(self) -> None:
        while True:
            key = await self._keys.get()
            try:
                await self._do(key)
            except (RegistryError, ConflictError):
                pass  # who has asked is told that there is no answer
            except Exception as error:
                self.faults.caught(error)

    async def _do(self, key: str) -> None:
        wanted, room = self._view.removals.get(key), keys.read_removal_key(key)
        if wanted is None or "is_done" in wanted or self._ownership.find_token(room) is None:
            return
        with suppress(RoomNotFoundError):  # nobody is in it any more
            if "users" in wanted:
                await self._rooms.remove_users(room, [str(each) for each in wanted["users"]])
            else:
                await self._rooms.dismiss(room)
        done = json.dumps({"is_done": True}).encode()
        await self._registry.put(key, done, ttl_s=_KEPT_S)
