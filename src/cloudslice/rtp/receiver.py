"""What an audio and a video receiver have in common: one media section, one SSRC at a time."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from cloudslice.media.tracks import OpusRun
from cloudslice.rtp.feedback import ReportBlock, SenderReport
from cloudslice.rtp.packet import RtpPacket
from cloudslice.rtp.reception import Reception


class Receiver(ABC):
    """Receives one media section of a session (RFC 8843's m= section): one SSRC at a time."""

    # The state of hundreds of anchors must stay in the caches.
    __slots__ = ("_reception", "_sender_report", "ssrc", "stream")

    def __init__(self, kind: int, clock_rate: int, *, counted_in: int = 1) -> None:
        self._reception = Reception(kind, clock_rate, counted_in)
        self.stream = self._reception.stream
        """What the native library keeps of our SSRC."""
        self._sender_report: tuple[SenderReport, float] | None = None
        self.ssrc: int | None = None
        self.last_arrival = float("-inf")
        self.last_authentic = float("-inf")

    @property
    def last_arrival(self) -> float:
        """Monotonic second of the last packet."""
        return self.stream.last_arrival

    @last_arrival.setter
    def last_arrival(self, second: float) -> None:
        self.stream.last_arrival = second

    @property
    def last_authentic(self) -> float:
        """Monotonic second of the last packet that was decrypted."""
        return self.stream.last_authentic

    @last_authentic.setter
    def last_authentic(self, second: float) -> None:
        self.stream.last_authentic = second

    def adopt(self, ssrc: int) -> None:
        """Receive `ssrc` from now on; what is known of another one is forgotten."""
        self.ssrc = ssrc
        self._reception.restart(ssrc)
        self._sender_report = None
        self._restarted()

    def release(self) -> None:
        """Our SSRC is no longer sent; another one may be adopted."""
        self.ssrc = None
        self.last_arrival = float("-inf")

    @abstractmethod
    def receive(self, media: RtpPacket | OpusRun) -> None:
        """Take in what the native library made of our SSRC's packets."""

    @abstractmethod
    def finish(self) -> None:
        """Nothing more comes: hand on what waits for something that is missing."""

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
