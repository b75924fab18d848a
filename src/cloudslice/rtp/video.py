"""Receives an anchor's video: packets are looked at in the clear and dropped unread, but for those
of the key frames that somebody asked for."""

from collections.abc import Callable, Mapping

from cloudslice.faults import Faults
from cloudslice.media.tracks import Keyframe, KeyframeReceiver, OpusRun, VideoCodec
from cloudslice.rtp import native
from cloudslice.rtp.feedback import nack, picture_loss
from cloudslice.rtp.keyframes import Depacketizer, KeyframeAssembler
from cloudslice.rtp.packet import RtpPacket, find_extension
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.reception import MISSING_PATIENCE_S, NackSchedule
from cloudslice.rtp.socket_filter import THINNED_TO

VIDEO_CLOCK_RATE = 90000
_FLOWING_S = 2.0
"""Chromium repeats the picture of a still screen once a second."""
_KEYFRAME_PATIENCE_S = 0.06
"""After asking for a key frame: by then the quicker ones have come whole."""
_PLI_AHEAD_S = 0.06
"""A key frame is asked for this much before it is due: so many share a beat."""
_PLI_INTERVAL_S = 0.5
"""Longer than a round trip, NACKs and all, so that one key frame is made for one request."""
_PLI_INTERVAL_AFTER_LOSS_S = 0.3
"""Chromium's encoder makes at most one key frame in 300 ms on request."""
_DENSE_PACKETS_S = 64
_RATE_INTERVAL_S = 1.0
_SILENT_S = 0.5
_NEVER = 1 << 62
"""An extended sequence number that no packet reaches."""


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
        codecs: by payload type, what was negotiated.
        can_nack: whether the sender negotiated retransmission.
        orientation_id: the negotiated id of the header extension urn:3gpp:video-orientation.
        monotonic: the clock of `arrival`.
        wake: called with the monotonic second by which `feedback` is to be called.
    """

    __slots__ = (
        "_asked_at",
        "_codecs",
        "_given_up_before",
        "_guard",
        "_is_dense",
        "_monotonic",
        "_nacks",
        "_orientation_id",
        "_rated",
        "_requests",
        "_rotation",
        "_wake",
        "keyframe_requests",
        "keyframes",
    )

    def __init__(
        self,
        codecs: dict[int, tuple[VideoCodec, Depacketizer]],
        *,
        can_nack: bool,
        orientation_id: int | None,
        monotonic: Callable[[], float],
        wake: Callable[[float], None],
    ) -> None:
        super().__init__(native.VIDEO, VIDEO_CLOCK_RATE, counted_in=THINNED_TO)
        self._codecs = {
            payload_type: (codec, depacketizer, KeyframeAssembler(depacketizer))
            for payload_type, (codec, depacketizer) in codecs.items()
        }
        self._orientation_id = orientation_id
        self._monotonic = monotonic
        self._wake = wake
        self._requests: list[_Request] = []
        self._guard = Faults("key frame receiver")
        self._nacks = NackSchedule(attempts=5 if can_nack else 0, interval=0.05)
        self.stream.read_highest = -1
        self.stream.read_from = 0
        self._rotation = 0
        self._asked_at = float("-inf")
        self._given_up_before = 0
        """The NACKs' count of lost packets when a key frame was last asked for."""
        self._is_dense = False
        self._rated = (float("-inf"), 0)
        """When `_is_dense` was found, and the highest sequence number then."""
        self.thinned_until = float("-inf")
        self.keyframes = 0
        """Intact key frames received while one was wanted."""
        self.keyframe_requests = 0
        """PLIs sent."""

    @property
    def thinned_until(self) -> float:
        """Of the packets that arrived before this monotonic second, most were dropped early."""
        return self.stream.thinned_until

    @thinned_until.setter
    def thinned_until(self, second: float) -> None:
        self.stream.thinned_until = second

    @property
    def unread(self) -> int:
        """Packets dropped on a look at their clear header."""
        return self.stream.unread

    @property
    def flowing(self) -> bool:
        return self._monotonic() - self.last_arrival < _FLOWING_S

    def request_keyframe(self, receiver: KeyframeReceiver, due: float) -> _Request:
        request = _Request(receiver, due, self._withdraw)
        if not self._requests:
            # What went unread before now is not missed.
            self.stream.read_highest = max(self.stream.read_highest, self.stream.highest)
            self.stream.read_from = 0
        self._requests.append(request)
        self._wake(due - _PLI_AHEAD_S)
        return request

    @property
    def is_wanted(self) -> bool:
        """Whether a key frame is."""
        return bool(self._requests)

    def may_be_thinned(self, now: float) -> bool:
        """Whether a few of the next packets are as good as all, at monotonic second `now`.

        So it is while no key frame is wanted, nothing is to be learnt of the codec, and packets
        come so densely that even a few tell that they come.
        """
        rated_at, rated_highest = self._rated
        if now - rated_at >= _RATE_INTERVAL_S:
            highest = self.stream.highest
            self._is_dense = highest - rated_highest >= _DENSE_PACKETS_S * (now - rated_at)
            self._rated = now, highest
        return (
            self._is_dense
            and not self._requests
            and self.stream.read_from > 0
            and now - self.last_arrival < _SILENT_S
        )

    def patience_s(self, now: float) -> float | None:
        if not self._requests or now - self.last_arrival > _FLOWING_S:
            return None
        if self._nacks:
            return MISSING_PATIENCE_S
        until_due = min(each.due for each in self._requests) - now
        return until_due if until_due > _PLI_AHEAD_S else _KEYFRAME_PATIENCE_S

    @property
    def sink_errors(self) -> int:
        return self._guard.errors

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "video_unread": self.unread,
            "keyframes": self.keyframes,
            "keyframe_requests": self.keyframe_requests,
            "sink_errors": self.sink_errors,
        }

    def receive(self, media: RtpPacket | OpusRun) -> None:
        if isinstance(media, RtpPacket):  # video has no runs
            self._read(media)

    def feedback(self, sender_ssrc: int, now: float) -> list[bytes]:
        if self.ssrc is None or not self._requests or now - self.last_arrival > _FLOWING_S:
            return []
        packets = []
        if missing := self._nacks.due(now):
            packets.append(nack(sender_ssrc, self.ssrc, missing))
        is_damaged = self._nacks.given_up > self._given_up_before
        interval = _PLI_INTERVAL_AFTER_LOSS_S if is_damaged else _PLI_INTERVAL_S
        due = min(each.due for each in self._requests) - _PLI_AHEAD_S
        if now >= max(due, self._asked_at + interval):
            self._asked_at = now
            self._given_up_before = self._nacks.given_up
            self.keyframe_requests += 1
            packets.append(picture_loss(sender_ssrc, self.ssrc))
        return packets

    def finish(self) -> None:
        self._stop_collecting()  # a picture without all of its packets is none

    def _read(self, packet: RtpPacket) -> None:
        sequence, highest = packet.sequence, self.stream.read_highest
        if sequence > highest:
            if self._requests and highest >= 0:
                self._nacks.add(highest + 1, sequence, packet.arrival)
            self.stream.read_highest = sequence
        else:
            self._nacks.discard(sequence)
        self._read_orientation(packet)
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            return
        kind, depacketizer, assembler = codec
        if not self._requests:
            depacketizer.learn(packet.payload)
            if depacketizer.is_ready:
                self.stream.read_from = _NEVER
            return
        complete = assembler.push(
            sequence, packet.timestamp, packet.marker, packet.payload, packet.arrival
        )
        if complete is not None:
            self._grant(Keyframe(kind, complete.data, complete.arrival, self._rotation))

    def _read_orientation(self, packet: RtpPacket) -> None:
        if self._orientation_id is not None and packet.extensions:
            # 3GPP TS 26.114, 7.4.5: the two lowest bits are quarter turns, clockwise to undo.
            element = find_extension(packet, self._orientation_id)
            if element:
                self._rotation = (element[0] & 0x03) * 90

    def _grant(self, keyframe: Keyframe) -> None:
        self.keyframes += 1
        granted, self._requests = self._requests, []
        self._stop_collecting()
        for request in granted:
            try:
                request.receiver(keyframe)
            except Exception as error:
                self._guard.caught(error)

    def _withdraw(self, request: _Request) -> None:
        if request in self._requests:
            self._requests.remove(request)
            if not self._requests:
                self._stop_collecting()

    def _stop_collecting(self) -> None:
        self._nacks.clear()
        for _codec, _depacketizer, assembler in self._codecs.values():
            assembler.clear()

    def _restarted(self) -> None:
        self.stream.read_highest = -1
        self.stream.read_from = 0
        self._is_dense = False
        self._rated = (float("-inf"), 0)
        self._asked_at = float("-inf")
        self._stop_collecting()
