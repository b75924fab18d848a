"""From RTP packets to intact key frames.

1. Packets of one timestamp whose sequence numbers follow each other are a frame; so are those up to
   one that opens another frame behind picture data, where timestamps stand still.
2. A frame is whole from the packet behind another frame's to the one before another frame's.
3. The marker bit ends a frame sooner, as RFC 3550 means it, once a key frame of this stream was
   seen to have it on its last packet only. Some senders set it on every packet, unit or slice.
   From then on a frame without it was cut short, by a server that goes over to another layer.
4. Packets without payload belong to no frame: padding, forward error correction.
"""

from bisect import bisect, insort
from dataclasses import dataclass, field
from typing import NamedTuple

from cloudslice.codecs.codec import Depacketizer, PayloadKind
from cloudslice.webrtc.rtp_packet import RtpPacket

_PADDING = PayloadKind()


class AssembledKeyframe(NamedTuple):
    """A complete key frame."""

    data: bytes
    timestamp: int
    arrival: float
    """Monotonic second at which the first of its packets came."""


class _Piece(NamedTuple):
    """What is kept of a packet."""

    timestamp: int
    marker: bool
    payload: bytes
    kind: PayloadKind
    arrival: float


@dataclass(slots=True)
class _Frame:
    """The packets of one timestamp."""

    sequences: list[int] = field(default_factory=list)
    first: int = 1 << 62
    """The lowest number of a packet with a payload..."""
    last: int = -1
    """...and the highest one."""
    keyframes: list[int] = field(default_factory=list)
    """Where the picture data of key frames begins that did not come out yet."""
    cuts: list[int] = field(default_factory=list)
    """Where another frame begins although the timestamp is the same, ascending."""
    refused: set[tuple[int, int, bool]] = field(default_factory=set)
    """What was put together in vain: from where, to where, and whether that was all."""


class KeyframeAssembler:
    """Collects packets in any order until a key frame is there from its first packet to its last.

    A frame of which any packet is missing, its first ones included, never comes out.

    Attributes:
        begun: key frames of which picture data began to come.
        has_gradual_refresh: whether the stream was seen to do without key frames by intra refresh.
    """

    _FRAMES = 64
    """Newest frames kept: at 60 a second, a key frame has a second to be repaired."""
    _PACKETS = 8192
    """Packets kept of all frames: 10 MB, as much as a camera sends in 16 s."""
    _PADDING = 64
    """Packets without payload between two that are looked through."""
    _KEYFRAMES = 4
    """Newest key frames looked for in one timestamp."""

    def __init__(self, depacketizer: Depacketizer) -> None:
        self.begun = 0
        self.has_gradual_refresh = False
        self._depacketizer = depacketizer
        self._pieces: dict[int, _Piece] = {}
        """By extended sequence number."""
        self._frames: dict[int, _Frame] = {}
        """By timestamp."""
        self._is_marker_last: bool | None = None
        """None: not known yet. False, which it stays: some frame went on behind a marker."""

    def clear(self) -> None:
        """Forget the packets; what was learnt of the stream stays."""
        self._pieces.clear()
        self._frames.clear()

    def push(self, packet: RtpPacket) -> AssembledKeyframe | None:
        """Take a packet of the stream in; the key frame that it completes, if it does."""
        sequence = packet.sequence
        if sequence in self._pieces:
            return None
        self._add(packet)
        before, behind = self._neighbour(sequence, -1), self._neighbour(sequence, 1)
        if not packet.payload:
            self._note_pair(before, behind)
        else:
            self._note_pair(before, sequence)
            self._note_pair(sequence, behind)
        found = timestamp = None
        if behind is not None or self._may_be_an_end(packet, before):
            for each in (before, sequence, behind):  # so that the newest key frame is the last one
                if each is not None and self._pieces[each].timestamp != timestamp:
                    timestamp = self._pieces[each].timestamp
                    found = self._complete(timestamp) or found
        while len(self._pieces) > self._PACKETS:
            self._drop_oldest_frame()
        return found

    def _add(self, packet: RtpPacket) -> None:
        sequence, timestamp, payload = packet.sequence, packet.timestamp, packet.payload
        kind = self._depacketizer.take(payload, sequence) if payload else _PADDING
        self._pieces[sequence] = _Piece(timestamp, packet.marker, payload, kind, packet.arrival)
        frame = self._frames.get(timestamp)
        if frame is None:
            frame = self._frames[timestamp] = _Frame()
            if len(self._frames) > self._FRAMES:
                self._drop_oldest_frame()
        frame.sequences.append(sequence)
        if payload:
            frame.first = min(frame.first, sequence)
            frame.last = max(frame.last, sequence)
        if kind.begins_keyframe:
            self.begun += 1
            frame.keyframes = sorted([*frame.keyframes, sequence])[-self._KEYFRAMES :]
        if kind.refreshes:
            self.has_gradual_refresh = True

    def _drop_oldest_frame(self) -> None:
        for sequence in self._frames.pop(next(iter(self._frames))).sequences:
            del self._pieces[sequence]

    def _neighbour(self, sequence: int, step: int) -> int | None:
        """The next packet with a payload in that direction; None if one before it is missing."""
        for each in range(sequence + step, sequence + step * self._PADDING, step):
            piece = self._pieces.get(each)
            if piece is None:
                return None
            if piece.payload:
                return each
        return None

    def _note_pair(self, one: int | None, other: int | None) -> None:
        """Learn from two packets that follow each other."""
        if one is None or other is None:
            return
        before, behind = self._pieces[one], self._pieces[other]
        if before.timestamp != behind.timestamp:
            return
        if before.kind.has_picture and behind.kind.opens:
            insort(self._frames[behind.timestamp].cuts, other)
        elif before.marker:
            self._is_marker_last = False

    def _may_be_an_end(self, packet: RtpPacket, before: int | None) -> bool:
        """Whether a frame can end with a packet, or before it, of which the next one is missing."""
        if packet.marker or self._frames[packet.timestamp].cuts:
            return True
        return before is not None and self._pieces[before].timestamp != packet.timestamp

    def _complete(self, timestamp: int) -> AssembledKeyframe | None:
        """The key frame of a timestamp that is whole now, if there is one; the newest one."""
        frame = self._frames[timestamp]
        for keyframe in reversed(frame.keyframes):
            found = self._assemble(frame, timestamp, keyframe)
            if found is not None:
                frame.keyframes = [each for each in frame.keyframes if each > keyframe]
                return found
        return None

    def _assemble(self, frame: _Frame, timestamp: int, keyframe: int) -> AssembledKeyframe | None:
        following = bisect(frame.cuts, keyframe)
        is_cut = following < len(frame.cuts)
        last = self._neighbour(frame.cuts[following], -1) if is_cut else frame.last
        is_last_known = is_cut or self._neighbour(frame.last, 1) is not None
        if last is None or not (is_last_known or self._ends_by_marker(frame.last)):
            return None
        if self._is_marker_last is True and not is_cut and not self._pieces[last].marker:
            return None
        first = frame.cuts[following - 1] if following else frame.first
        sequences = range(first, last + 1)
        if not all(each in self._pieces for each in sequences):
            return None
        pieces = [piece for each in sequences if (piece := self._pieces[each]).payload]
        is_first_known = first in frame.cuts or self._neighbour(first, -1) is not None
        if (first, last, is_first_known) in frame.refused:
            return None
        payloads = [each.payload for each in pieces]
        data = self._depacketizer.assemble(payloads, first, is_first_known=is_first_known)
        if data is None:
            frame.refused.add((first, last, is_first_known))
            return None
        self._learn_marker(pieces)
        return AssembledKeyframe(data, timestamp, min(each.arrival for each in pieces))

    def _ends_by_marker(self, last: int) -> bool:
        return self._is_marker_last is True and self._pieces[last].marker

    def _learn_marker(self, pieces: list[_Piece]) -> None:
        """A key frame of these packets is whole: see whether its marker tells."""
        *others, last = [each.marker for each in pieces]
        if self._is_marker_last is None and others and last and not any(others):
            self._is_marker_last = True
