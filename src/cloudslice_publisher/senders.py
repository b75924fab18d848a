"""All streams that a connection sends: what is due of them, and what the receiver says of them."""

import random
from collections.abc import Iterable, Iterator

from cloudslice.clock import Clock
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.rtcp import RtcpParseError
from cloudslice_publisher.sender import Sender, SendStats
from cloudslice_publisher.sender_rtcp import (
    KeyframeWanted,
    Nack,
    Reception,
    Remb,
    ntp_time,
    parse_feedback,
)

_REPORT_INTERVAL_S = 1.0


class Senders:
    """Sends streams on a connection, once it is connected. It is the connection's RtcpListener.

    Args:
        connection: carries them.
        stats: counts what is sent.
        clock: for the wall time in sender reports.
        loss: the part of RTP packets, 0..1, that is lost on the way; retransmitted ones too.
    """

    def __init__(
        self, connection: PeerConnection, stats: SendStats, clock: Clock, *, loss: float = 0
    ) -> None:
        self.loss = loss
        self._connection = connection
        self._stats = stats
        self._clock = clock
        self._random = random.Random(loss)  # noqa: S311  (the same losses every time)
        self._by_ssrc: dict[int, Sender] = {}
        self._next_report = 0.0
        connection.rtcp_listener = self

    def add(self, senders: Iterable[Sender]) -> None:
        """Send these, too; their first reports follow soon."""
        self._by_ssrc |= {sender.ssrc: sender for sender in senders}
        self._next_report = self._clock.monotonic() + _REPORT_INTERVAL_S

    def remove(self, sender: Sender) -> None:
        """Send it no more."""
        self._by_ssrc.pop(sender.ssrc, None)

    def __iter__(self) -> Iterator[Sender]:
        return iter(self._by_ssrc.values())

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`."""
        for sender in self:
            for packet in sender.due(now):
                self._send(packet)
        if now >= self._next_report:
            self._next_report = now + _REPORT_INTERVAL_S
            for sender in self:
                report = sender.report(now, self._clock.utc_ms(now))
                if report is not None:
                    self._connection.transport.send_rtcp(report)

    def on_rtcp(self, packet: bytes) -> None:
        """Act on the receiver's feedback."""
        try:
            parts = parse_feedback(packet)
        except RtcpParseError:
            self._stats.feedback_refused += 1
            return
        for part in parts:
            if isinstance(part, Remb):
                self._stats.remb_kbps = part.bitrate_bps // 1000
            elif (sender := self._by_ssrc.get(part.ssrc)) is not None:
                self._act(sender, part)

    def _act(self, sender: Sender, part: KeyframeWanted | Nack | Reception) -> None:
        if isinstance(part, KeyframeWanted):
            self._stats.keyframes_wanted += 1
            sender.request_keyframe()
        elif isinstance(part, Nack):
            for sequence in part.sequences:
                self._stats.packets_nacked += 1
                if (packet := sender.sent_before(sequence)) is not None:
                    self._send(packet)
        else:
            now_ntp = ntp_time(self._clock.utc_ms())
            self._stats.round_trip_s = part.round_trip_s(now_ntp) or self._stats.round_trip_s
            self._stats.fraction_lost = part.fraction_lost

    def _send(self, packet: bytes) -> None:
        self._stats.packets_sent += 1
        self._stats.bytes_sent += len(packet)
        if self.loss and self._random.random() < self.loss:
            self._stats.packets_lost += 1
        else:
            self._connection.transport.send(packet)
