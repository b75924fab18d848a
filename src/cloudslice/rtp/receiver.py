"""What an audio and a video receiver have in common: one media section, one SSRC at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial

from cloudslice.rtp.feedback import ReportBlock, SenderReport
from cloudslice.rtp.packet import Datagram, Header, RtpPacket
from cloudslice.rtp.reception import Reception
from cloudslice.rtp.srtp import SrtpContext


class Receiver(ABC):
    """Receives one media section of a session (RFC 8843's m= section): one SSRC at a time."""

    # The state of hundreds of anchors must stay in the caches: without slots a packet costs a
    # third more at 200 of them.
    __slots__ = (
        "_make_reception",
        "_reception",
        "_sender_report",
        "_unprotect",
        "last_arrival",
        "last_authentic",
        "ssrc",
    )

    def __init__(self, srtp: SrtpContext, clock_rate: int, *, counted_in: int = 1) -> None:
        self._unprotect = srtp.unprotect
        self._make_reception = partial(Reception, clock_rate, counted_in)
        self._reception = self._make_reception()
        self._sender_report: tuple[SenderReport, float] | None = None
        self.ssrc: int | None = None
        self.last_arrival = float("-inf")
        """Monotonic second of the last packet."""
        self.last_authentic = float("-inf")
        """Monotonic second of the last packet that was decrypted."""

    def adopt(self, ssrc: int) -> None:
        """Receive `ssrc` from now on; what is known of another one is forgotten."""
        self.ssrc = ssrc
        self._reception = self._make_reception()
        self._sender_report = None
        self._restarted()

    def release(self) -> None:
        """Our SSRC is no longer sent; another one may be adopted."""
        self.ssrc = None
        self.last_arrival = float("-inf")

    @abstractmethod
    def receive(self, header: Header, packet: Datagram, arrival: float) -> None:
        """Take in an SRTP packet of our SSRC with its header, received at monotonic second
        `arrival`.

        Raises:
            SrtpError: it is not authentic, or was there before.
            RtpParseError: what was in it is no RTP packet.
        """

    @abstractmethod
    def receive_clear(self, packet: RtpPacket, arrival: float) -> None:
        """Take in a packet of our SSRC that is decrypted already."""

    @abstractmethod
    def _restarted(self) -> None:
        """Another SSRC: what was collected of the old one cannot be completed any more."""

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        """Our SSRC's sender report has come."""
        self._sender_report = (report, now)

    def report_block(self, now: float) -> ReportBlock | None:
        """What to report of our SSRC; None before its first packet."""
        if self.ssrc is None or self._reception.highest < 0:
            return None
        report, when = self._sender_report or (None, now)
        return ReportBlock(
            ssrc=self.ssrc,
            reception=self._reception.report(),
            last_sender_report=report.compact_ntp if report else 0,
            delay_s=now - when,
        )

    @abstractmethod
    def feedback(self, sender_ssrc: int, now: float) -> list[bytes]:
        """RTCP that is due at monotonic second `now`: NACKs, PLIs."""

    @abstractmethod
    def patience_s(self, now: float) -> float | None:
        """Seconds from monotonic second `now` until `feedback` is to be called again; None: it will
        have nothing to do."""

    @property
    @abstractmethod
    def sink_errors(self) -> int:
        """How often one that receives this media raised an exception."""

    @property
    @abstractmethod
    def counts(self) -> Mapping[str, int]:
        """What was received and what was dropped so far, by a name that says it."""
