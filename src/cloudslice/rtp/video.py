"""Receives an anchor's video: packets are looked at in the clear and dropped unread, but for those
of the key frames that somebody asked for."""

from collections.abc import Callable

from cloudslice.rooms.base import Keyframe, KeyframeReceiver, VideoCodec
from cloudslice.rtp.feedback import nack, picture_loss
from cloudslice.rtp.keyframes import Depacketizer, KeyframeAssembler
from cloudslice.rtp.packet import RtpPacket, find_extension, parse_rtp
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.reception import NackSchedule
from cloudslice.rtp.srtp import SrtpContext

VIDEO_CLOCK_RATE = 90000
_FLOWING_S = 1.0
_PLI_INTERVAL_S = 0.5
"""Chromium's encoder makes at most one key frame in 300 ms on request."""
_UNREAD_LIMIT = 4096
"""SRTP's 16-bit roll-over is followed by decrypting: long before 32768 packets go unread."""


class _Request:
    """A KeyframeRequest of a VideoReceiver."""

    def __init__(
        self, receiver: KeyframeReceiver, due: float, withdraw: Callable[["_Request"], None]
    ) -> None:
        self.receiver = receiver
        self.due = due
        self._withdraw = withdraw

    def cancel(self) -> None:
        self._withdraw(self)


class VideoReceiver(Receiver):
    """A VideoTrack.

    Args:
        srtp: opens the packets.
        codecs: by payload type, what was negotiated.
        orientation_id: the negotiated id of the header extension urn:3gpp:video-orientation.
        monotonic: the clock of `arrival`.
    """

    def __init__(
        self,
        srtp: SrtpContext,
        codecs: dict[int, tuple[VideoCodec, Depacketizer]],
        *,
        orientation_id: int | None,
        monotonic: Callable[[], float],
    ) -> None:
        super().__init__(srtp, VIDEO_CLOCK_RATE)
        self._codecs = {
            payload_type: (codec, depacketizer, KeyframeAssembler(depacketizer))
            for payload_type, (codec, depacketizer) in codecs.items()
        }
        self._orientation_id = orientation_id
        self._monotonic = monotonic
        self._requests: list[_Request] = []
        self._nacks = NackSchedule(attempts=6, interval=0.05)
        self._read_highest = -1
        self._rotation = 0
        self._asked_at = float("-inf")
        self.unread = 0
        """Packets dropped on a look at their clear header."""
        self.keyframes = 0
        """Intact key frames received while one was wanted."""
        self.keyframe_requests = 0
        """PLIs sent."""

    @property
    def flowing(self) -> bool:
        return self._monotonic() - self.last_arrival < _FLOWING_S

    def request_keyframe(self, receiver: KeyframeReceiver, due: float) -> _Request:
        request = _Request(receiver, due, self._withdraw)
        if not self._requests:
            self._collect_anew()
        self._requests.append(request)
        return request

    @property
    def needs_attention(self) -> bool:
        return bool(self._requests)

    def receive(self, packet: bytes, arrival: float) -> None:
        self.last_arrival = arrival
        sequence = self._reception.on_packet(
            int.from_bytes(packet[2:4]), int.from_bytes(packet[4:8]), arrival
        )
        if not self._requests and not self._must_read(packet, sequence):
            self.unread += 1
            return
        clear = parse_rtp(self._srtp.unprotect(packet))
        self._read(clear, sequence, arrival)

    def receive_clear(self, packet: RtpPacket, arrival: float) -> None:
        self.last_arrival = arrival
        sequence = self._reception.on_packet(packet.sequence, packet.timestamp, arrival)
        self._read(packet, sequence, arrival)

    def feedback(self, sender_ssrc: int, now: float) -> list[bytes]:
        if self.ssrc is None or not self._requests or now - self.last_arrival > _FLOWING_S:
            return []
        packets = []
        if due := self._nacks.due(now):
            packets.append(nack(sender_ssrc, self.ssrc, due))
        wanted_at = max(
            min(request.due for request in self._requests), self._asked_at + _PLI_INTERVAL_S
        )
        if now >= wanted_at:
            self._asked_at = now
            self.keyframe_requests += 1
            packets.append(picture_loss(sender_ssrc, self.ssrc))
        return packets

    def _must_read(self, packet: bytes, sequence: int) -> bool:
        if sequence - self._read_highest > _UNREAD_LIMIT:
            return True
        codec = self._codecs.get(packet[1] & 0x7F)
        return codec is not None and not codec[1].is_ready

    def _read(self, packet: RtpPacket, sequence: int, arrival: float) -> None:
        self.last_authentic = arrival
        if sequence > self._read_highest:
            if self._requests and self._read_highest >= 0:
                self._nacks.add(self._read_highest + 1, sequence, arrival)
            self._read_highest = sequence
        else:
            self._nacks.discard(sequence)
        self._read_orientation(packet)
        codec = self._codecs.get(packet.payload_type)
        if codec is None or not packet.payload:
            return
        if not self._requests:
            codec[1].learn(packet.payload)
            return
        complete = codec[2].push(sequence, packet.timestamp, packet.marker, packet.payload, arrival)
        if complete is not None:
            self._grant(Keyframe(codec[0], complete.data, complete.arrival, self._rotation))

    def _read_orientation(self, packet: RtpPacket) -> None:
        if self._orientation_id is not None and packet.extensions:
            # 3GPP TS 26.114, 7.4.5: the two lowest bits are quarter turns, clockwise to undo.
            element = find_extension(packet, self._orientation_id)
            if element:
                self._rotation = (element[0] & 0x03) * 90

    def _grant(self, keyframe: Keyframe) -> None:
        self.keyframes += 1
        granted, self._requests = self._requests, []
        self._nacks.clear()
        self._forget_packets()
        for request in granted:
            request.receiver(keyframe)

    def _withdraw(self, request: _Request) -> None:
        if request in self._requests:
            self._requests.remove(request)
            if not self._requests:
                self._nacks.clear()
                self._forget_packets()

    def _collect_anew(self) -> None:
        # What went unread before now is not missed.
        self._read_highest = max(self._read_highest, self._reception.highest)

    def _forget_packets(self) -> None:
        for _codec, _depacketizer, assembler in self._codecs.values():
            assembler.clear()

    def _restarted(self) -> None:
        self._read_highest = -1
        self._nacks.clear()
        self._forget_packets()
