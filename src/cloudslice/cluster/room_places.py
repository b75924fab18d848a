"""Where builtin rooms are in a cluster, for anchors who come by WHIP.

A room that nobody has is placed like one with a task. A node that takes calls sends the anchor to
the best worker; that one takes the room when the anchor comes. If another one was first, the anchor
is sent there.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.placement import order_nodes
from cloudslice.cluster.registry import RegistryError
from cloudslice.cluster.room_ownership import RoomOwnership
from cloudslice.ids import RoomKey
from cloudslice.rooms.builtin.whip_places import NoPlaceError

_SEEN_WITHIN_S = 1.0
"""Seconds after which a node that has taken a room before us is in our view."""


def find_node(view: ClusterView, room: RoomKey) -> NodeInfo:
    """The node that has a room, or is to have it.

    Raises:
        NoPlaceError: none can have it.
    """
    owner = view.owner_of(room)
    if owner is None:
        nodes = view.nodes
        best = order_nodes(room, view.rooms.get(room), nodes.values(), view.room_counts)
        owner = nodes[best[0]] if best else None
        if owner is None or not (owner.is_open or view.tasks_in(room)):
            raise NoPlaceError(f"none of {len(nodes)} nodes takes new rooms")
    if not owner.url:
        raise NoPlaceError(f"node {owner.node} has told no URL")
    return owner


class WorkerPlaces:
    """The `RoomPlaces` of a worker.

    Args:
        view: tells who has rooms.
        lease: of this node.
        ownership: takes rooms for it.
        put_out: ends the sessions of a room's anchors.
        url: by which clients reach this node.
    """

    def __init__(
        self,
        view: ClusterView,
        lease: NodeLease,
        ownership: RoomOwnership,
        put_out: Callable[[RoomKey], object],
        url: str,
    ) -> None:
        self.url = url
        self._view = view
        self._lease = lease
        self._ownership = ownership
        self._put_out = put_out
        ownership.on_changed(self._note_room)

    @asynccontextmanager
    async def holding(self, room: RoomKey) -> AsyncIterator[str]:
        """See `RoomPlaces`."""
        with self._ownership.holding(room):
            yield await self._find_url(room)
            self._note_room(room)  # it may have been lost before the anchor was in it

    def _note_room(self, room: RoomKey) -> None:
        ownership = self._ownership
        if ownership.find_token(room) is None and not ownership.is_undecided(room):
            self._put_out(room)

    async def _find_url(self, room: RoomKey) -> str:
        ownership, me = self._ownership, self._lease.node
        if not ownership.is_settled(room) or not self._lease.is_valid:
            raise NoPlaceError("it is not certain at this moment which node has the room")
        if ownership.find_token(room) is not None:
            return ""
        node = find_node(self._view, room)
        if node.node != me:
            return node.url
        try:
            if await ownership.claim(room):
                return ""
        except RegistryError as error:
            raise NoPlaceError(str(error)) from error
        await self._view.wait_for(lambda: self._is_others(room), _SEEN_WITHIN_S)
        if not self._is_others(room):
            raise NoPlaceError("another node is taking the room")
        return find_node(self._view, room).url

    def _is_others(self, room: RoomKey) -> bool:
        owner = self._view.owner_of(room)
        return owner is not None and owner.node != self._lease.node
