"""From RTP packets to intact key frames."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Depacketizer(Protocol):
    """What the assembler needs to know of a codec."""

    @property
    def is_ready(self) -> bool: ...

    def learn(self, payload: bytes) -> None: ...

    def starts_access_unit(self, payload: bytes) -> bool: ...

    def starts_keyframe(self, payload: bytes) -> bool: ...

    def assemble(self, payloads: Sequence[bytes]) -> bytes | None: ...


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
    end: int | None = None


class KeyframeAssembler:
    """Collects packets in any order until a key frame is there from its first packet to its last.

    A frame of which any packet is missing, its first ones included, never comes out.
    """

    _FRAMES = 8
    """Newest frames kept; a key frame's retransmissions arrive while a few newer ones do."""
    _PACKETS = 4096
    """Packets kept of one frame: 4.8 MB of a single frame is no camera's."""

    def __init__(self, depacketizer: Depacketizer) -> None:
        self._depacketizer = depacketizer
        self._frames: dict[int, _Frame] = {}
        self._timestamps: dict[int, int] = {}

    def clear(self) -> None:
        """Forget what was collected."""
        self._frames.clear()
        self._timestamps.clear()

    def push(
        self, sequence: int, timestamp: int, is_last: bool, payload: bytes, arrival: float
    ) -> AssembledKeyframe | None:
        """Take a packet in; the key frame that it completes, if it does.

        Args:
            sequence: extended sequence number.
            timestamp: RTP timestamp; all packets of a frame have the same.
            is_last: the marker bit.
            payload: the RTP payload.
            arrival: monotonic second.
        """
        self._depacketizer.learn(payload)
        frame = self._frames.get(timestamp) or self._begin_frame(timestamp, arrival)
        if len(frame.payloads) >= self._PACKETS:
            return None
        self._timestamps[sequence] = timestamp
        frame.payloads[sequence] = payload
        if is_last:
            frame.end = sequence
        if self._starts(sequence, timestamp, payload) and (
            frame.start is None or sequence < frame.start
        ):
            frame.start = sequence
        return self._completed(frame)

    def _begin_frame(self, timestamp: int, arrival: float) -> _Frame:
        frame = self._frames[timestamp] = _Frame(arrival)
        if len(self._frames) > self._FRAMES:
            oldest = next(iter(self._frames))
            for sequence in self._frames.pop(oldest).payloads:
                self._timestamps.pop(sequence, None)
        return frame

    def _starts(self, sequence: int, timestamp: int, payload: bytes) -> bool:
        if self._depacketizer.starts_access_unit(payload):
            return True
        # Picture data without a certain start: the packet before it must be seen to be another
        # frame's, or parameter sets may have been lost with it.
        return self._timestamps.get(
            sequence - 1, timestamp
        ) != timestamp and self._depacketizer.starts_keyframe(payload)

    def _completed(self, frame: _Frame) -> AssembledKeyframe | None:
        if frame.start is None or frame.end is None:
            return None
        sequences = range(frame.start, frame.end + 1)
        if not sequences or not all(sequence in frame.payloads for sequence in sequences):
            return None
        data = self._depacketizer.assemble([frame.payloads[each] for each in sequences])
        return AssembledKeyframe(data, frame.arrival) if data is not None else None
