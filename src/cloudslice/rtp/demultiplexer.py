"""Which receiver an SSRC's packets are for (RFC 8843, 9.2)."""

from collections.abc import Sequence

from cloudslice.rtp.native import PeerStruct
from cloudslice.rtp.packet import RtpPacket, find_extension
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.sdp import MID_URI, MediaPlan
from cloudslice.rtp.srtp import SrtpContext

_SSRC_LIMIT = 32
"""SSRCs whose SRTP state is kept: a peer that makes up ever new ones costs no memory."""
_SILENT_S = 1.0


class Demultiplexer:
    """Gives each media section's receiver the newest SSRC that is meant for it.

    An SSRC that was replaced does not come back while its successor is heard, so that two that are
    sent side by side do not take turns.

    Args:
        peer: is told which streams to receive.
        srtp: what the peer's SSRCs are decrypted with.
        media: each media section with its receiver.
    """

    def __init__(
        self,
        peer: PeerStruct,
        srtp: SrtpContext,
        media: Sequence[tuple[MediaPlan, Receiver]],
    ) -> None:
        self._peer = peer
        self._srtp = srtp
        self._media = tuple(media)
        self._declared = {ssrc for plan, _receiver in media for ssrc in plan.ssrcs}
        self._was_replaced: dict[int, bool] = {}
        """Of every SSRC that was heard lately, oldest first."""
        self.by_ssrc: dict[int, Receiver] = {}
        """To be read only."""

    def assign(self, ssrc: int, packet: RtpPacket, now: float) -> Receiver | None:
        """The receiver of an SSRC that is in `by_ssrc` not yet, which it is from now on.

        Args:
            ssrc: of `packet`.
            packet: decrypted, and so authentic.
            now: monotonic second.
        """
        self.note(ssrc)
        meant = [receiver for plan, receiver in self._media if self._is_of(plan, ssrc, packet)]
        receiver = next(
            (each for each in meant if each.ssrc is None),
            next((each for each in meant if self._may_replace(each, ssrc, now)), None),
        )
        if receiver is None:
            return None
        if receiver.ssrc is not None:
            self._was_replaced[receiver.ssrc] = True
            self.by_ssrc.pop(receiver.ssrc, None)
        self._was_replaced[ssrc] = False
        self.by_ssrc[ssrc] = receiver
        receiver.adopt(ssrc)
        self._listen()
        return receiver

    def note(self, ssrc: int) -> None:
        """An authentic packet of `ssrc` has come: SRTP keeps something of it now."""
        if ssrc in self._was_replaced:
            return
        self._was_replaced[ssrc] = False
        if len(self._was_replaced) > _SSRC_LIMIT:
            oldest = next(each for each in self._was_replaced if each not in self.by_ssrc)
            del self._was_replaced[oldest]
            self._srtp.forget(oldest)

    def release(self, ssrc: int) -> None:
        """The peer said that it will send no more of `ssrc` (RTCP BYE)."""
        receiver = self.by_ssrc.pop(ssrc, None)
        if receiver is not None:
            receiver.release()
            self._listen()

    def _listen(self) -> None:
        self._peer.listen_to(receiver.stream for receiver in self.by_ssrc.values())

    def _is_of(self, plan: MediaPlan, ssrc: int, packet: RtpPacket) -> bool:
        if not any(packet.payload_type == codec.payload_type for codec in plan.codecs):
            return False
        mid_id = plan.extension_id(MID_URI)
        mid = find_extension(packet, mid_id) if mid_id is not None else None
        if mid is not None:
            return mid == plan.mid.encode()
        return ssrc in plan.ssrcs or ssrc not in self._declared

    def _may_replace(self, receiver: Receiver, ssrc: int, now: float) -> bool:
        return not self._was_replaced[ssrc] or now - receiver.last_arrival > _SILENT_S
