"""What an audio and a video receiver have in common: one media section, one SSRC at a time."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from cloudslice.faults import Faults
from cloudslice.webrtc.native import StreamState
from cloudslice.webrtc.native.native_port import NativeStream
from cloudslice.webrtc.rtcp import ReportBlock, SenderReport, nack

_COUNTED = ("unread", "late", "lost", "foreign")


@dataclass(frozen=True, slots=True)
class ReceiverHooks:
    """What a receiver needs of its peer connection.

    Attributes:
        send: sends an RTCP packet that it is given the maker of, with the SSRC that asks, behind a
            report on the stream that it is about.
        wake: the connection is to call the receiver by this monotonic second.
        monotonic: the clock of arrivals.
    """

    send: Callable[[Callable[[int], bytes], ReportBlock | None], None]
    wake: Callable[[float], None]
    monotonic: Callable[[], float]


class Receiver(ABC):
    """Receives one media section (RFC 8866, 5.14): one SSRC at a time.

    Attributes:
        clock_rate: of its RTP timestamps.
        attempts: how often a missing packet is asked for.
        track: the number that the native library knows our stream by.
    """

    payload_types: frozenset[int] = frozenset()
    """Those of Opus, of audio."""
    level_id = 0
    """Of the header extension that tells audio levels; 0: there is none."""
    patience_s = 0.0
    """How long later packets wait for a missing one, of audio."""

    def __init__(self, clock_rate: int, attempts: int, hooks: ReceiverHooks) -> None:
        self.clock_rate = clock_rate
        self.attempts = attempts
        self.track = 0
        self._hooks = hooks
        self.faults = Faults("receiver of media")
        self._stream: NativeStream | None = None
        self._sender_report: tuple[SenderReport, float] | None = None
        self._former = Counter[str]()
        """What was counted of SSRCs that are not received any more."""

    @property
    def ssrc(self) -> int | None:
        """The SSRC that is received."""
        return None if self._stream is None else self._stream.ssrc

    @property
    def last_arrival(self) -> float:
        """Monotonic second of the last packet; -inf before it."""
        return -inf if self._stream is None else self._stream.state.last_arrival

    @property
    def last_authentic(self) -> float:
        """Monotonic second of the last packet that was decrypted; -inf before it."""
        return -inf if self._stream is None else self._stream.state.last_authentic

    def adopt(self, stream: NativeStream) -> None:
        """Receive another SSRC from now on, after `release` of the former one."""
        self._stream = stream
        self._sender_report = None
        self._began()

    def release(self) -> NativeStream | None:
        """Our SSRC is not received any more; its stream, which is to be closed."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._former.update(_count(stream.state))
            self._ended()
        return stream

    def ask_again(self, sequences: Sequence[int]) -> None:
        """Packets of our SSRC are missing: ask the sender for them (RFC 4585, 6.2.1)."""
        ssrc = self.ssrc
        if ssrc is not None:
            self._ask(lambda sender: nack(sender, ssrc, sequences))

    @property
    def next_deadline(self) -> float:
        """The monotonic second by which to call `send_due`; infinity if nothing is waited for."""
        return inf

    def send_due(self, now: float) -> None:  # noqa: B027  (audio has nothing to ask for by itself)
        """Ask for what is due at monotonic second `now`."""

    def on_sender_report(self, report: SenderReport, arrival: float) -> None:
        """Our SSRC's sender report has come."""
        self._sender_report = report, arrival

    def report_block(self, now: float) -> ReportBlock | None:
        """What to report of our SSRC since the last report; None before its first packet."""
        report = None if self._stream is None else self._stream.report()
        if report is None or self._stream is None:
            return None
        sender_report, when = self._sender_report or (None, now)
        return ReportBlock(
            ssrc=self._stream.ssrc,
            report=report,
            last_sender_report=sender_report.compact_ntp if sender_report else 0,
            delay_s=now - when,
        )

    @property
    def counts(self) -> Counter[str]:
        """What was received and what was dropped so far, by a name that says it."""
        total = self._former.copy()
        if self._stream is not None:
            total.update(_count(self._stream.state))
        total["sink_errors"] += self.faults.errors
        return total

    def _ask(self, make: Callable[[int], bytes]) -> None:
        """Send feedback on our SSRC."""
        self._hooks.send(make, self.report_block(self._hooks.monotonic()))

    @abstractmethod
    def _began(self) -> None:
        """Another SSRC is received."""

    @abstractmethod
    def _ended(self) -> None:
        """Nothing more comes of the SSRC."""


def _count(state: StreamState) -> dict[str, int]:
    return {name: getattr(state, name) for name in _COUNTED}
