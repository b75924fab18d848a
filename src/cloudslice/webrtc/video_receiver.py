"""Receives an anchor's video: packets go unread, except those of the key frames that somebody
wants."""

from collections import Counter
from collections.abc import Callable, Mapping
from math import inf

import structlog

from cloudslice.codecs.codec import Depacketizer
from cloudslice.media.tracks import Keyframe, KeyframeReceiver, VideoCodec
from cloudslice.webrtc import rtcp
from cloudslice.webrtc.keyframe_assembler import KeyframeAssembler
from cloudslice.webrtc.keyframe_requests import KeyframeRequests
from cloudslice.webrtc.receiver import Receiver, ReceiverHooks
from cloudslice.webrtc.rtp_packet import RtpPacket, find_extension

VIDEO_CLOCK_RATE = 90_000
FLOWING_S = 2.0
"""Chromium repeats the picture of a still screen once a second."""
NACK_ATTEMPTS = 5

_log = structlog.get_logger(__name__)


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
        codecs: by payload type, the codec's name and its depacketiser.
        can_nack: whether the sender negotiated retransmission.
        orientation_id: the negotiated id of the header extension urn:3gpp:video-orientation.
        hooks: of our connection.
    """

    def __init__(
        self,
        codecs: Mapping[int, tuple[VideoCodec, Depacketizer]],
        *,
        can_nack: bool,
        orientation_id: int | None,
        hooks: ReceiverHooks,
    ) -> None:
        super().__init__(VIDEO_CLOCK_RATE, NACK_ATTEMPTS if can_nack else 0, hooks)
        self._codecs = {
            payload_type: (name, depacketizer, KeyframeAssembler(depacketizer))
            for payload_type, (name, depacketizer) in codecs.items()
        }
        self._orientation_id = orientation_id
        self._open: list[_Request] = []
        self._pacing = KeyframeRequests()
        self._given_up = 0
        """The stream's count of packets that are missing for good, as it was when last looked
        at."""
        self._is_damaged = False
        self._rotation = 0
        self._kept: Keyframe | None = None
        """The last key frame of a sender that does not answer requests."""
        self._keyframes = 0

    @property
    def flowing(self) -> bool:
        return self._hooks.monotonic() - self.last_arrival < FLOWING_S

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> _Request:
        request = _Request(receiver, due, self._withdraw)
        kept = self._kept
        if kept is not None and due - kept.arrival < max_age_s:
            receiver(kept)
            return request
        self._open.append(request)
        if self._stream is not None and len(self._open) == 1 and not self._pacing.are_ignored:
            self._stream.read(is_read=True)
        self.send_due(self._hooks.monotonic())
        self._hooks.wake(self.next_deadline)
        return request

    @property
    def next_deadline(self) -> float:
        """The monotonic second by which to call `send_due`; infinity if nothing is waited for."""
        if not self._open or self._stream is None:
            return inf
        return self._pacing.next_at(min(each.due for each in self._open))

    def send_due(self, now: float) -> None:
        """Ask for a key frame if it is time to."""
        stream = self._stream
        if stream is None or not self._open:
            return
        if stream.state.given_up > self._given_up:
            self._given_up = stream.state.given_up
            self._is_damaged = True
            self._pacing.damaged()
        if now < self.next_deadline:
            return
        were_ignored = self._pacing.are_ignored
        self._pacing.asked(now, may_be_answered=self.flowing and not self._is_damaged)
        self._is_damaged = False
        if self._pacing.are_ignored and not were_ignored:
            _log.warning("the sender does not answer requests for key frames", ssrc=stream.ssrc)
        self._hooks.send(lambda sender: rtcp.picture_loss(sender, stream.ssrc))

    def on_packet(self, packet: RtpPacket) -> None:
        """A packet of our SSRC, which is read."""
        self._read_orientation(packet)
        codec = self._codecs.get(packet.payload_type)
        if codec is None:
            return
        name, depacketizer, assembler = codec
        if not self._open and not self._pacing.are_ignored:
            # Between its first packet and the one that is enough to know of the stream.
            depacketizer.learn(packet.payload)
            if depacketizer.is_ready:
                self._stop_reading()
            return
        complete = assembler.push(packet)
        if complete is not None:
            self._complete(Keyframe(name, complete.data, complete.arrival, self._rotation))

    @property
    def does_not_answer(self) -> bool:
        """Whether the sender does not answer requests for key frames, as far as can be told."""
        return self._pacing.are_ignored

    @property
    def counts(self) -> Counter[str]:
        counts = super().counts
        return Counter(
            video_unread=counts["unread"],
            keyframes=self._keyframes,
            keyframe_requests=self._pacing.sent,
            sink_errors=counts["sink_errors"],
        )

    def _read_orientation(self, packet: RtpPacket) -> None:
        if self._orientation_id is not None and packet.extensions:
            # 3GPP TS 26.114, 7.4.5: the two lowest bits are quarter turns, clockwise to undo.
            element = find_extension(packet, self._orientation_id)
            if element:
                self._rotation = (element[0] & 0x03) * 90

    def _complete(self, keyframe: Keyframe) -> None:
        self._keyframes += 1
        self._pacing.answered(keyframe.arrival)
        self._kept = keyframe if self._pacing.are_ignored else None
        requests, self._open = self._open, []
        self._stop_reading()
        for request in requests:
            try:
                request.receiver(keyframe)
            except Exception as error:
                self.faults.caught(error)

    def _withdraw(self, request: _Request) -> None:
        if request in self._open:
            self._open.remove(request)
            if not self._open:
                self._stop_reading()

    def _stop_reading(self) -> None:
        """Unless the sender does not answer: its key frames are taken as they come."""
        for _name, _depacketizer, assembler in self._codecs.values():
            assembler.clear()
        if self._stream is not None and not self._pacing.are_ignored:
            self._stream.read(is_read=False)

    def _began(self) -> None:
        self._pacing = KeyframeRequests()
        self._given_up = 0
        self._kept = None
        if self._stream is not None:
            self._stream.read(is_read=True)

    def _ended(self) -> None:
        for _name, _depacketizer, assembler in self._codecs.values():
            assembler.clear()
