"""Which node takes a room: the one with the most measured headroom."""

import hashlib
from collections.abc import Iterable, Mapping

from cloudslice.cluster.cluster_view import NodeInfo, RoomOwner
from cloudslice.cluster.registry_keys import room_part
from cloudslice.ids import RoomKey

_LEAST_COST = 0.002
"""Of a node's headroom, for a room that it has taken since it measured."""


def order_nodes(
    room: RoomKey,
    former: RoomOwner | None,
    nodes: Iterable[NodeInfo],
    room_counts: Mapping[str, int],
) -> list[str]:
    """The nodes that may take a room whose owner is gone, the best one first.

    Nodes that see the same come to the same order. First comes the node that has had the room and
    is back: it has the room's spool. Last come those that take no new tasks: a room that is there
    is better with a node that is full than with none. Nodes that are being stopped take none.

    Args:
        room: whose tasks are to be run.
        former: who has had it.
        nodes: those whose lease goes on.
        room_counts: how many rooms each of them has by now.
    """

    def rank(node: NodeInfo) -> tuple[bool, bool, float, bytes]:
        is_back = former is not None and former.node == node.node
        later = max(room_counts.get(node.node, 0) - node.rooms, 0)
        cost = max(_LEAST_COST, (1 - node.headroom) / max(node.rooms, 1))
        # Nodes that are alike share the rooms.
        lot = hashlib.sha256(f"{room_part(room)} {node.node}".encode()).digest()
        return not is_back, not node.is_open, -(node.headroom - later * cost), lot

    return [node.node for node in sorted(nodes, key=rank) if not node.is_leaving]
