"""Receives an anchor's video: packets go unread, except those of the key frames that somebody
wants.

1. Packets are read while a key frame is requested, and at a stream's beginning until enough is
   known of it. They are read all the time only if the sender does not answer requests for key
   frames.
2. Of such a sender the last key frame is kept, for requests that take one of some age.
3. A key frame goes to all requests that are open.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from math import inf

from cloudslice.codecs.codec import Depacketizer
from cloudslice.codecs.sealed_frames import OpenFrame, SealedDepacketizer
from cloudslice.media.tracks import (
    Colors,
    Decoding,
    Description,
    Keyframe,
    KeyframeReceiver,
    NoKeyframeReason,
)
from cloudslice.webrtc import rtcp
from cloudslice.webrtc.color_space import read_color_space
from cloudslice.webrtc.keyframe_assembler import KeyframeAssembler
from cloudslice.webrtc.keyframe_requests import KeyframeRequests
from cloudslice.webrtc.missing_keyframes import SenderWarnings
from cloudslice.webrtc.receiver import Receiver, ReceiverHooks
from cloudslice.webrtc.rtp_packet import RtpPacket, find_extension

VIDEO_CLOCK_RATE = 90_000
FLOWING_S = 2.0
"""Chromium repeats the picture of a still screen once a second."""
NACK_ATTEMPTS = 5
_TOLD_COLORS = 64
"""Frames whose colours are remembered: as many as are put together at a time."""
_COMING_S = 1.0
"""Longer than a key frame takes to come, retransmissions and all: no other one is asked for."""


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


class _Coded:
    """What is received in one codec."""

    def __init__(
        self,
        decoding: Decoding,
        make_depacketizer: Callable[[], Depacketizer],
        open_frame: OpenFrame | None,
    ) -> None:
        self.decoding = decoding
        self.depacketizer = make_depacketizer()
        if open_frame is not None:
            opened = partial(open_frame, decoding)
            self.depacketizer = SealedDepacketizer(self.depacketizer, opened)
        self.assembler = KeyframeAssembler(self.depacketizer)


class VideoReceiver(Receiver):
    """A VideoTrack.

    Args:
        codecs: by payload type, how key frames are decoded, and what makes a depacketiser for each
            SSRC.
        can_nack: whether the sender negotiated retransmission.
        orientation_id: the negotiated id of the header extension urn:3gpp:video-orientation.
        color_space_id: ...and of the one that says what colours are.
        hooks: of our connection.
    """

    def __init__(
        self,
        codecs: Mapping[int, tuple[Decoding, Callable[[], Depacketizer]]],
        *,
        can_nack: bool,
        orientation_id: int | None,
        color_space_id: int | None,
        hooks: ReceiverHooks,
    ) -> None:
        super().__init__(VIDEO_CLOCK_RATE, NACK_ATTEMPTS if can_nack else 0, hooks)
        self._codecs = codecs
        self._open_frame: OpenFrame | None = None
        self._coded: dict[int, _Coded] = {}
        """By payload type, of the current SSRC."""
        self._current: _Coded | None = None
        """What the last packet was coded in."""
        self._orientation_id = orientation_id
        self._rotation = 0
        self._color_space_id = color_space_id
        self._told_colors: dict[int, Colors] = {}
        """By timestamp, of frames whose packets are read."""
        self._open: list[_Request] = []
        self._pacing = KeyframeRequests()
        self._kept: Keyframe | None = None
        """The last key frame of a sender that does not answer requests."""
        self._is_read = False
        self._last_read = -inf
        """Monotonic second at which the last packet arrived that was read."""
        self._before = (0, 0)
        """Key frames begun and packets given up, when the sender was last asked."""
        self._begun = 0
        """Key frames whose picture data began to come."""
        self._coming: tuple[float, int] | None = None
        """While a key frame comes: since when, and the packets given up before."""
        self._warnings = SenderWarnings()
        self._counts = Counter[str]()

    @property
    def flowing(self) -> bool:
        return self._hooks.monotonic() - self.last_arrival < FLOWING_S

    @property
    def no_keyframe_reason(self) -> NoKeyframeReason | None:
        """Why no key frame has come since the sender was first asked for one; None if that is not
        known (yet), or one has come."""
        if not self._pacing.is_open:
            return None
        if not self.flowing:
            return NoKeyframeReason.SILENT
        if self._pacing.damaged:
            return NoKeyframeReason.LOST
        if self._current is not None and self._current.assembler.has_gradual_refresh:
            return NoKeyframeReason.INTRA_REFRESH
        return NoKeyframeReason.NO_ANSWER if self._pacing.are_ignored else None

    @property
    def bitrate_factor(self) -> float:
        """What part of the highest bitrate the sender is to be told: less after key frames were
        damaged again and again, as smaller ones may come through."""
        return self._pacing.bitrate_factor(self._hooks.monotonic())

    def open_frames_by(self, open_frame: OpenFrame | None) -> None:
        """Key frames are encrypted from end to end, and opened so, from now on; None: they are
        not."""
        self._open_frame = open_frame
        if self._stream is not None:
            self._begin_codecs()

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> _Request:
        request = _Request(receiver, due, self._withdraw)
        kept = self._kept
        if kept is not None and due - kept.arrival < max_age_s:
            self._fulfil([request], kept)
            return request
        self._open.append(request)
        if len(self._open) == 1:
            self._read(is_read=True)
        self.send_due(self._hooks.monotonic())  # not a tick later, when others are asked
        self._hooks.wake(self.next_deadline)
        return request

    def describe(self, keyframe: Keyframe) -> Description:
        """See `VideoTrack`: whether the sender answers requests."""
        return {"requests-ignored": 1} if self._pacing.are_ignored else {}

    @property
    def next_deadline(self) -> float:
        """The monotonic second by which to call `send_due`; infinity if nothing is waited for.

        While a key frame comes it is always time: no packet may tell that it is damaged.
        """
        if not self._open or self._stream is None:
            return inf
        return self._ask_at if self._coming is None else -inf

    def send_due(self, now: float) -> None:
        """Ask for a key frame if it is time to."""
        stream = self._stream
        if stream is None or not self._open:
            return
        self._note_damage(now)
        if now < self._ask_at:
            return
        state = self._begun, self._given_up
        self._pacing.asked(now, may_be_answered=self.flowing and state == self._before)
        self._before = state
        self._counts["keyframe_requests"] += 1
        self._ask(lambda sender: rtcp.picture_loss(sender, stream.ssrc))
        if self._pacing.are_ignored:
            self._warnings.tell(self.no_keyframe_reason, self.ssrc)

    def on_packet(self, packet: RtpPacket) -> None:
        """A packet of our SSRC, which is read, or came with those that were to be read."""
        if not self._is_read:
            return
        if packet.arrival - self._last_read > FLOWING_S:
            self._pacing.resumed(packet.arrival)
            self._hooks.wake(self.next_deadline)
        self._last_read = packet.arrival
        rotation_before = self._rotation
        self._read_orientation(packet)
        if packet.marker and self._color_space_id is not None:
            self._read_color_space(packet, self._color_space_id)
        coded = self._coded.get(packet.payload_type)
        if coded is None:  # it has its place between packets that are video
            packet = packet._replace(payload=b"")
        else:
            self._current = coded
        if self._current is None:
            return
        keyframe = self._assemble(self._current, packet, rotation_before)
        if keyframe is not None and (self._open or self._pacing.are_ignored):
            self._complete(keyframe, packet.arrival)
        elif not self._open and self._current.depacketizer.is_ready:
            self._stop_reading()

    @property
    def counts(self) -> Counter[str]:
        counts = super().counts
        names = ("keyframes", "keyframes_damaged", "keyframe_requests")
        return Counter(
            {each: self._counts[each] for each in names}
            | self._warnings.counts
            | {"video_unread": counts["unread"], "sink_errors": counts["sink_errors"]}
        )

    @property
    def _ask_at(self) -> float:
        """The monotonic second at which to ask for a key frame."""
        at = self._pacing.next_at(min(each.due for each in self._open), flows=self.flowing)
        return at if self._coming is None else max(at, self._coming[0] + _COMING_S)

    @property
    def _given_up(self) -> int:
        """Packets of our SSRC that are missing for good."""
        return 0 if self._stream is None else self._stream.state.given_up

    def _assemble(self, coded: _Coded, packet: RtpPacket, rotation_before: int) -> Keyframe | None:
        begun = coded.assembler.begun
        complete = coded.assembler.push(packet)
        if coded.assembler.begun > begun:
            self._begun += 1
            self._coming = (packet.arrival, self._given_up) if self._open else None
            self._hooks.wake(self.next_deadline)
        if complete is None:
            self._note_damage(packet.arrival)
            return None
        is_last = complete.timestamp == packet.timestamp
        rotation = self._rotation if is_last else rotation_before
        told = self._told_colors.get(complete.timestamp)
        decoding = coded.decoding.of_colors(told) if told else coded.decoding
        return Keyframe(decoding, complete.data, complete.arrival, rotation)

    def _note_damage(self, now: float) -> None:
        """See whether the key frame that comes has lost packets for good."""
        if self._coming is not None and self._given_up > self._coming[1]:
            self._coming = None
            self._counts["keyframes_damaged"] += 1
            self._pacing.answer_damaged(now)
            self._hooks.wake(self.next_deadline)

    def _read_orientation(self, packet: RtpPacket) -> None:
        if self._orientation_id is not None and packet.extensions:
            # 3GPP TS 26.114, 7.4.5: the two lowest bits are quarter turns, clockwise to undo.
            element = find_extension(packet, self._orientation_id)
            if element:
                self._rotation = (element[0] & 0x03) * 90

    def _read_color_space(self, packet: RtpPacket, identifier: int) -> None:
        """libwebrtc sends it with the last packet of each key frame."""
        colors = read_color_space(find_extension(packet, identifier) or b"")
        if colors is not None:
            self._told_colors[packet.timestamp] = colors
            if len(self._told_colors) > _TOLD_COLORS:
                del self._told_colors[next(iter(self._told_colors))]

    def _complete(self, keyframe: Keyframe, now: float) -> None:
        self._counts["keyframes"] += 1
        self._pacing.answered(now)
        self._kept = keyframe if self._pacing.are_ignored else None
        requests, self._open = self._open, []
        self._stop_reading()
        self._fulfil(requests, keyframe)

    def _fulfil(self, requests: list[_Request], keyframe: Keyframe) -> None:
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
        """Unless the sender does not answer."""
        self._coming = None
        if not self._pacing.are_ignored:
            for coded in self._coded.values():
                coded.assembler.clear()
            self._read(is_read=False)

    def _read(self, *, is_read: bool) -> None:
        self._is_read = is_read
        if self._stream is not None:
            self._stream.read(is_read=is_read)

    def _began(self) -> None:
        self._pacing = KeyframeRequests()
        self._before = (0, 0)
        self._begun = 0
        self._last_read = -inf
        self._begin_codecs()
        self._hooks.wake(self.next_deadline)

    def _begin_codecs(self) -> None:
        """Nothing is known of the stream's frames yet."""
        self._coded = {
            number: _Coded(*each, self._open_frame) for number, each in self._codecs.items()
        }
        self._current = self._kept = self._coming = None
        self._told_colors.clear()
        self._read(is_read=True)

    def _ended(self) -> None:
        self._coded.clear()
        self._current = self._kept = None
