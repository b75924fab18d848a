"""The node with the most headroom takes a room; those that see the same agree."""

from dataclasses import replace

from cloudslice.cluster.cluster_view import NodeInfo, RoomOwner
from cloudslice.cluster.placement import order_nodes
from cloudslice.ids import RoomIdType, RoomKey

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)
FREE, BUSY = NodeInfo("free", "s", 0.8, rooms=10), NodeInfo("busy", "s", 0.3, rooms=10)


def test_more_headroom_comes_first() -> None:
    assert order_nodes(ROOM, None, [BUSY, FREE], {"free": 10, "busy": 10}) == ["free", "busy"]


def test_rooms_that_were_taken_since_the_measurement_count() -> None:
    """By what a room has cost so far: 0.02 of the headroom."""
    assert order_nodes(ROOM, None, [BUSY, FREE], {"free": 34, "busy": 10})[0] == "free"
    assert order_nodes(ROOM, None, [BUSY, FREE], {"free": 36, "busy": 10})[0] == "busy"


def test_a_full_node_comes_last() -> None:
    full = replace(FREE, is_open=False)
    assert order_nodes(ROOM, None, [full, BUSY], {}) == ["busy", "free"]


def test_a_node_that_is_back_comes_first() -> None:
    former = RoomOwner("busy", "a former session", 7)
    assert order_nodes(ROOM, former, [FREE, BUSY], {}) == ["busy", "free"]


def test_nodes_that_are_alike_share_the_rooms() -> None:
    nodes = [NodeInfo(name, "s") for name in ("a", "b", "c")]
    first = [
        order_nodes(RoomKey(1, str(number), RoomIdType.NUMBER), None, nodes, {})[0]
        for number in range(1, 301)
    ]
    assert all(70 < first.count(name) < 130 for name in ("a", "b", "c"))


def test_a_node_that_is_stopped_takes_nothing() -> None:
    assert order_nodes(ROOM, None, [replace(FREE, is_leaving=True), BUSY], {}) == ["busy"]
