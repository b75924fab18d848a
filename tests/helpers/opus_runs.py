"""Runs of Opus packets, as a room hands them to its sinks."""

from collections.abc import Iterable
from typing import NamedTuple

from cloudslice.codecs.opus import packet_samples
from cloudslice.media.tracks import OpusRun


class ArrivedPacket(NamedTuple):
    """An Opus packet, its extended timestamp and the monotonic second of its arrival."""

    payload: bytes
    timestamp: int
    arrival: float


def make_runs(packets: Iterable[ArrivedPacket], limit: int) -> list[OpusRun]:
    """The packets in as few runs as there can be, if none has more than `limit` of them."""
    groups: list[list[ArrivedPacket]] = []
    for each in packets:
        if groups and len(groups[-1]) < limit and _goes_on(groups[-1][-1], each):
            groups[-1].append(each)
        else:
            groups.append([each])
    return [_make_run(group) for group in groups]


def _goes_on(last: ArrivedPacket, following: ArrivedPacket) -> bool:
    toc = last.payload[0]
    return (
        toc & 0x03 == 0
        and following.payload[0] == toc
        and following.timestamp == last.timestamp + packet_samples(last.payload)
    )


def _make_run(packets: list[ArrivedPacket]) -> OpusRun:
    first = packets[0]
    return OpusRun(
        b"".join(each.payload for each in packets),
        [len(each.payload) for each in packets],
        first.timestamp,
        first.arrival,
        packets[-1].arrival,
        min(each.arrival - (each.timestamp - first.timestamp) / 48_000 for each in packets),
    )
