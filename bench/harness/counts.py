"""What is counted between two moments, and by whom."""

import asyncio
from dataclasses import asdict, dataclass

from harness.anchors import Anchors
from harness.process import udp_overflows
from helpers.node import Node


@dataclass(frozen=True, slots=True)
class Counts:
    """By one moment, or between two.

    Attributes:
        sent: RTP packets that the anchors have sent.
        nacked: those that the server has asked for again.
        read: datagrams that the server has read.
        overflows: datagrams that found their socket's buffer full.
    """

    sent: int
    nacked: int
    read: int
    overflows: int

    def since(self, before: "Counts") -> "Counts":
        """What came to it after `before`."""
        now, then = asdict(self), asdict(before)
        return Counts(**{name: now[name] - then[name] for name in now})


async def count(node: Node, load: Anchors) -> Counts:
    """What there has been by now."""
    read = await asyncio.to_thread(node.metric, "cloudslice_datagrams_total", what="received")
    sent = await load.count()
    return Counts(sent.packets, sent.nacked, round(read), udp_overflows())
