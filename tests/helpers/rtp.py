"""RTP packets, and sinks that keep what comes of them."""

import struct
from collections.abc import Iterator, Sequence

from cloudslice.codecs.opus import packet_samples
from cloudslice.media.tracks import OpusRun

SSRC = 0x1234


def rtp_packet(
    sequence: int,
    timestamp: int,
    payload: bytes = b"\x01",
    *,
    payload_type: int = 111,
    marker: bool = False,
    ssrc: int = SSRC,
    extension: bytes = b"",
) -> bytes:
    """An RTP packet; `extension` is the whole header extension (RFC 3550, 5.3.1), if any."""
    return (
        struct.pack(
            ">BBHII",
            0x90 if extension else 0x80,
            marker << 7 | payload_type,
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            ssrc,
        )
        + extension
        + payload
    )


def one_byte_extension(*elements: tuple[int, bytes]) -> bytes:
    """A header extension of one-byte elements (RFC 8285, 4.2)."""
    body = b"".join(bytes([number << 4 | len(data) - 1]) + data for number, data in elements)
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", 0xBEDE, len(body) // 4) + body


def two_byte_extension(*elements: tuple[int, bytes]) -> bytes:
    """A header extension of two-byte elements (RFC 8285, 4.3)."""
    body = b"".join(bytes([number, len(data)]) + data for number, data in elements)
    body += bytes(-len(body) % 4)
    return struct.pack(">HH", 0x1000, len(body) // 4) + body


class RecordingSink:
    """An AudioSink that keeps what it is told."""

    def __init__(self) -> None:
        self.runs: list[OpusRun] = []
        self.packets: list[tuple[bytes, int]] = []
        """Each with its timestamp."""
        self.restarts: list[int] = []
        """How many packets had come at each restart."""
        self.sender_times: list[tuple[int, float]] = []

    @property
    def payloads(self) -> list[bytes]:
        return [payload for payload, _timestamp in self.packets]

    @property
    def timestamps(self) -> list[int]:
        return [timestamp for _payload, timestamp in self.packets]

    @property
    def arrivals(self) -> list[float]:
        """Of each run's first packet."""
        return [run.arrival for run in self.runs]

    def on_opus(self, run: OpusRun) -> None:
        self.runs.append(run)
        self.packets += unpack_run(run)

    def on_restart(self) -> None:
        self.restarts.append(len(self.packets))

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        self.sender_times.append((timestamp, utc_ms))


class BrokenSink:
    """An AudioSink with a bug."""

    def on_opus(self, run: OpusRun) -> None:
        raise RuntimeError("a bug in on_opus")

    def on_restart(self) -> None:
        raise RuntimeError("a bug in on_restart")

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        raise RuntimeError("a bug in on_sender_time")


def unpack_run(run: OpusRun) -> Iterator[tuple[bytes, int]]:
    """Each packet of a run with its timestamp."""
    samples = packet_samples(run.data[: run.sizes[0]]) if len(run.sizes) > 1 else 0
    for index, payload in enumerate(run.packets()):
        yield payload, run.timestamp + index * samples


def runs(sequences: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending numbers as (first, last) of each unbroken run."""
    found: list[tuple[int, int]] = []
    for each in sequences:
        if found and found[-1][1] + 1 == each:
            found[-1] = (found[-1][0], each)
        else:
            found.append((each, each))
    return found
