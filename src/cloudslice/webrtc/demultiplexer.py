"""Which media section an SSRC's packets belong to (RFC 8843, 9.2)."""

from collections import OrderedDict
from collections.abc import Sequence

from cloudslice.webrtc.negotiation import MID_URI, NegotiatedSection
from cloudslice.webrtc.receiver import Receiver
from cloudslice.webrtc.rtp_packet import RtpPacket, find_extension

_REMEMBERED = 32
"""SSRCs that were replaced lately: a peer that makes up ever new ones costs no memory."""
_SILENT_S = 1.0

Place = tuple[NegotiatedSection, Receiver]


class Demultiplexer:
    """Gives each section the newest SSRC that is meant for it.

    An SSRC that was replaced does not come back while its successor is heard, so that two that are
    sent side by side do not take turns.

    Args:
        announced_only: whether a section takes no SSRC but those that its description names.
    """

    def __init__(self, *, announced_only: bool = False) -> None:
        self._announced_only = announced_only
        self._places: tuple[Place, ...] = ()
        self._declared: frozenset[int] = frozenset()
        self._replaced: OrderedDict[int, None] = OrderedDict()

    def set_places(self, places: Sequence[Place]) -> None:
        """The sections that media may come for."""
        self._places = tuple(places)
        self._declared = frozenset(each.number for section, _ in places for each in section.ssrcs)

    def find(self, ssrc: int, packet: RtpPacket, now: float) -> Receiver | None:
        """The receiver that is to receive an SSRC which nobody receives, instead of its own; None:
        nobody.

        Args:
            ssrc: of `packet`.
            packet: authentic.
            now: monotonic second.
        """
        meant = [
            receiver for section, receiver in self._places if self._is_for(section, ssrc, packet)
        ]
        for receiver in meant:
            if receiver.ssrc is None:
                return receiver
        for receiver in meant:
            if ssrc not in self._replaced or now - receiver.last_arrival > _SILENT_S:
                return receiver
        return None

    def replaced(self, ssrc: int) -> None:
        """Another SSRC is received in place of this one."""
        self._replaced[ssrc] = None
        self._replaced.move_to_end(ssrc)
        if len(self._replaced) > _REMEMBERED:
            self._replaced.popitem(last=False)

    def _is_for(self, section: NegotiatedSection, ssrc: int, packet: RtpPacket) -> bool:
        if not any(each.payload_type == packet.payload_type for each in section.formats):
            return False
        if self._announced_only:
            return any(each.number == ssrc for each in section.ssrcs)
        mid_id = section.extension_id(MID_URI)
        mid = find_extension(packet, mid_id) if mid_id is not None else None
        if mid is not None:
            return mid == section.mid.encode()
        return ssrc not in self._declared or any(each.number == ssrc for each in section.ssrcs)
