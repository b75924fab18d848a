"""The rooms that are this node's by the registry's records, and how the records are changed.

1. A room is the node's by its record, which is changed by compare-and-set, and as long as the
   session of the node's lease goes on that the record names.
2. The revision of the record is the room's fencing token. A room that was lost and taken again has
   another one.
3. When the lease has run out and begins anew, it is undecided whose the rooms are, until each is
   taken anew or seen to be another node's.
"""

import json
from collections.abc import Callable
from contextlib import suppress

import structlog

from cloudslice.cluster import registry_keys as keys
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo, RoomOwner
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.registry import ConflictError, Registry
from cloudslice.ids import RoomKey
from cloudslice.tasks.store import StoreError

_log = structlog.get_logger(__name__)


class OwnedRooms:
    """The rooms of this node; what it takes and gives back is somebody else's to decide.

    Args:
        registry: has the records.
        view: shows them.
        lease: of this node.
    """

    def __init__(self, registry: Registry, view: ClusterView, lease: NodeLease) -> None:
        self._registry = registry
        self._view = view
        self._lease = lease
        self._owned: dict[RoomKey, int] = {}
        """Rooms by their tokens."""
        self._retaken: set[RoomKey] = set()
        """Of a former session of ours: to be taken anew, unless somebody else has them."""
        self._given_back: dict[RoomKey, int] = {}
        """By their last tokens, as long as the view still shows them as ours."""
        self._giving_back: set[RoomKey] = set()
        """Whose records are being deleted, or given to another node."""
        self._on_changed: list[Callable[[RoomKey], object]] = []

    def on_changed(self, call: Callable[[RoomKey], object]) -> None:
        """`call` when a room has become this node's, is so by another token, or is no more."""
        self._on_changed.append(call)

    def find_token(self, room: RoomKey) -> int | None:
        """The token by which the room is this node's, as far as is known; the lease may have run
        out meanwhile."""
        return self._owned.get(room)

    def is_undecided(self, room: RoomKey) -> bool:
        """Whether the room was this node's when its lease ran out, and may become so again."""
        return room in self._retaken

    def is_settled(self, room: RoomKey) -> bool:
        """Whether it is known here that the room is, or is not, this node's."""
        return room not in self._retaken and room not in self._giving_back

    @property
    def rooms(self) -> list[RoomKey]:
        """This node's."""
        return list(self._owned)

    def require_token(self, room: RoomKey) -> int:
        """The token by which the room is this node's for certain at this moment.

        Raises:
            StoreError: it is not, or not for certain.
        """
        token = self._owned.get(room)
        if token is None:
            raise StoreError("the room is another node's")
        if not self._lease.is_valid:
            raise StoreError("the node's lease has run out")
        return token

    @property
    def count(self) -> int:
        """How many rooms this node has."""
        return len(self._owned)

    def begin_anew(self) -> None:
        """The lease had run out: whatever was ours can be another node's by now."""
        self._retaken.update(self._owned)
        self._owned.clear()

    @property
    def undecided(self) -> list[RoomKey]:
        """To be taken anew."""
        return list(self._retaken)

    def compare(self, room: RoomKey) -> None:
        """Go by a room's record, as the view shows it."""
        token, taken = self._owned.get(room), self._view.rooms.get(room)
        if token is not None and taken is not None and taken.revision > token:
            self._lose(room)
            token = None
        if taken is None or taken.revision > self._given_back.get(room, 0):
            self._given_back.pop(room, None)
            if token is None and taken is not None and self._is_mine(taken):
                # The answer to our taking has not come, or comes later than this.
                self._own(room, taken.revision)

    async def take(self, room: RoomKey, taken: RoomOwner | None) -> None:
        """Be the owner of a room whose record is this one.

        Raises:
            ConflictError: it has another record by now.
            RegistryError: the registry gives no answer.
        """
        lease = self._lease
        value = json.dumps({"node": lease.node, "session": lease.session}).encode()
        key = keys.ROOM + keys.room_part(room)
        session = lease.session
        if taken is None:
            token = await self._registry.create(key, value)
        else:
            token = await self._registry.update(key, value, taken.revision)
        if lease.session == session:  # or it is to be taken anew
            self._own(room, token)

    async def retake(self, room: RoomKey) -> bool:
        """Take a room anew that was ours; False: its record is gone, or another node's.

        Raises:
            RegistryError: the registry gives no answer.
        """
        taken = self._view.rooms.get(room)
        if taken is None or taken.node != self._lease.node:
            self._retaken.discard(room)
            self._tell(room)
            return False
        try:
            await self.take(room, taken)
        except ConflictError:
            found = await self._registry.get(keys.ROOM + keys.room_part(room))
            if found is None or found.revision != taken.revision:
                self._lose(room)
        return True

    async def give_back(self, room: RoomKey) -> None:
        """Have a room be nobody's that is this node's.

        Raises:
            RegistryError: the registry gives no answer.
        """
        token = self._owned[room]
        self._giving_back.add(room)
        try:
            # Or it is gone, by a try of ours whose answer did not come, or another node's.
            with suppress(ConflictError):
                await self._registry.delete(keys.ROOM + keys.room_part(room), token)
        finally:
            self._giving_back.discard(room)
        self._forget(room, token)

    async def hand_over(self, room: RoomKey, node: NodeInfo) -> None:
        """Have another node be the owner of a room that is this one's.

        Raises:
            ConflictError: another node has it already.
            RegistryError: the registry gives no answer.
        """
        token = self._owned.get(room)
        if token is None:
            raise ConflictError(room.wire_id)
        self._giving_back.add(room)
        try:
            value = json.dumps({"node": node.node, "session": node.session}).encode()
            await self._registry.update(keys.ROOM + keys.room_part(room), value, token)
        finally:
            self._giving_back.discard(room)
        self._forget(room, token)

    def _forget(self, room: RoomKey, token: int) -> None:
        if self._owned.get(room) == token:
            del self._owned[room]
            self._given_back[room] = token
            self._tell(room)

    def _lose(self, room: RoomKey) -> None:
        self._owned.pop(room, None)
        self._retaken.discard(room)
        if room not in self._giving_back:
            _log.warning("room is another node's now", **_fields(room))
        self._tell(room)

    def _is_mine(self, taken: RoomOwner) -> bool:
        return taken.node == self._lease.node and taken.session == self._lease.session

    def _own(self, room: RoomKey, token: int) -> None:
        if self._owned.get(room) == token:
            return
        self._retaken.discard(room)
        self._owned[room] = token
        _log.info("room is this node's", token=token, **_fields(room))
        self._tell(room)

    def _tell(self, room: RoomKey) -> None:
        for call in self._on_changed:
            call(room)


def _fields(room: RoomKey) -> dict[str, object]:
    return {"sdk_app_id": room.sdk_app_id, "room_id": room.wire_id}
