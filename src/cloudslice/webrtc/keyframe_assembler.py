"""From RTP packets to intact key frames."""

from dataclasses import dataclass, field
from typing import NamedTuple

from cloudslice.codecs.codec import Depacketizer
from cloudslice.webrtc.rtp_packet import RtpPacket


class AssembledKeyframe(NamedTuple):
    """A complete key frame; `arrival` is the monotonic second of its first packet."""

    data: bytes
    arrival: float


@dataclass(slots=True)
class _Frame:
    """The packets seen of one frame: those with one RTP timestamp."""

    arrival: float
    payloads: dict[int, bytes] = field(default_factory=dict)
    start: int | None = None
    end: int = -1


class KeyframeAssembler:
    """Collects packets in any order until a key frame is there from its first packet to its last.

    A frame of which any packet is missing, its first ones included, never comes out.
    """

    _FRAMES = 64
    """Newest frames kept: at 60 a second, a key frame has a second to be repaired."""
    _PACKETS = 8192
    """Packets kept of all frames: 10 MB, as much as a camera sends in 16 s."""

    def __init__(self, depacketizer: Depacketizer) -> None:
        self._depacketizer = depacketizer
        self._frames: dict[int, _Frame] = {}
        self._timestamps: dict[int, int] = {}
        """Of every packet kept, by extended sequence number."""

    def clear(self) -> None:
        """Forget what was collected."""
        self._frames.clear()
        self._timestamps.clear()

    def push(self, packet: RtpPacket) -> AssembledKeyframe | None:
        """Take a packet of the stream in; the key frame that it completes, if it does."""
        sequence, timestamp, payload = packet.sequence, packet.timestamp, packet.payload
        self._depacketizer.learn(payload)
        frame = self._frames.get(timestamp) or self._begin_frame(timestamp, packet.arrival)
        self._timestamps[sequence] = timestamp
        frame.payloads[sequence] = payload
        if packet.marker:
            frame.end = max(frame.end, sequence)
        if self._starts(sequence, timestamp, payload):
            frame.start = sequence if frame.start is None else min(frame.start, sequence)
        while len(self._timestamps) > self._PACKETS:
            self._drop_oldest_frame()
        return self._completed(frame)

    def _begin_frame(self, timestamp: int, arrival: float) -> _Frame:
        frame = self._frames[timestamp] = _Frame(arrival)
        if len(self._frames) > self._FRAMES:
            self._drop_oldest_frame()
        return frame

    def _drop_oldest_frame(self) -> None:
        for sequence in self._frames.pop(next(iter(self._frames))).payloads:
            self._timestamps.pop(sequence, None)

    def _starts(self, sequence: int, timestamp: int, payload: bytes) -> bool:
        if self._depacketizer.starts_access_unit(payload):
            return True
        # Picture data without a certain start: the packet before it must be seen to be another
        # frame's, or parameter sets may have been lost with it.
        return self._timestamps.get(
            sequence - 1, timestamp
        ) != timestamp and self._depacketizer.starts_keyframe(payload)

    def _completed(self, frame: _Frame) -> AssembledKeyframe | None:
        if frame.start is None or frame.end - frame.start >= len(frame.payloads):
            return None
        sequences = range(frame.start, frame.end + 1)
        if not sequences or not all(sequence in frame.payloads for sequence in sequences):
            return None
        payloads = [payload for each in sequences if (payload := frame.payloads[each])]
        data = self._depacketizer.assemble(payloads)
        return AssembledKeyframe(data, frame.arrival) if data is not None else None
