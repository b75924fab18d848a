"""One WebRTC connection that only sends: a socket, and what is due on it at each beat."""

import asyncio
import random
import secrets
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from cloudslice.clock import Clock
from cloudslice.media.tracks import TrackKind
from cloudslice.rtp.dtls import DtlsCertificate, DtlsEndpoint, DtlsError
from cloudslice.rtp.ice import Address, IceCredentials, StunError
from cloudslice.rtp.srtp import MAX_PACKET, SrtpContext, SrtpError
from cloudslice_publisher import feedback
from cloudslice_publisher.ice import ControllingAgent
from cloudslice_publisher.media import Media
from cloudslice_publisher.sdp import Answer, OfferedStream, make_offer, plan_streams
from cloudslice_publisher.sender import Sender, SendStats, make_sender
from cloudslice_publisher.stream import ntp_time

_REPORT_INTERVAL_S = 1.0
# Holds the packets of a large key frame, which leave in one beat.
_SEND_BUFFER = 1 << 20


class ConnectionLostError(Exception):
    """The connection ended, or was never made; the text says why."""


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How a connection behaves.

    Attributes:
        offset_s: where in the media's loop to begin.
        loss: the part of RTP packets, 0..1, that is lost on the way; retransmitted ones too.
        rotation: clockwise degrees that receivers must turn the video by: 0, 90, 180 or 270.
        consent_timeout_s: the server is gone when it has not answered checks for so long.
    """

    offset_s: float = 0
    loss: float = 0
    rotation: int = 0
    consent_timeout_s: float = 10


class Connection:
    """Sends media to whoever answers its offer.

    Call `start` with the answer and then `beat` every 20 ms or so; `close` when done.

    Args:
        media: what is sent.
        certificate: ours.
        stats: counts what is sent; may be shared by connections that follow each other.
        clock: for pacing, and for the wall time in sender reports.
    """

    def __init__(
        self,
        media: Media,
        options: ConnectionOptions,
        *,
        certificate: DtlsCertificate,
        stats: SendStats,
        clock: Clock,
    ) -> None:
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._media = media
        self._options = options
        self._certificate = certificate
        self._stats = stats
        self._clock = clock
        self._local = IceCredentials.generate()
        self._cname = secrets.token_hex(8)
        self._streams = plan_streams(media)
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        self._socket: socket.socket | None = None
        self._ice: ControllingAgent | None = None
        self._dtls: DtlsEndpoint | None = None
        self._srtp: SrtpContext | None = None
        self._accepted: tuple[OfferedStream, ...] = ()
        self._senders: tuple[Sender, ...] = ()
        self._muted: set[TrackKind] = set()
        self._next_report = 0.0
        self._loss = random.Random(options.loss)  # noqa: S311  (the same losses every time)

    @property
    def offer(self) -> str:
        """The SDP offer."""
        return make_offer(
            self._streams,
            ice=self._local,
            fingerprint=self._certificate.fingerprint,
            cname=self._cname,
        )

    def start(self, answer: Answer) -> None:
        """Begin to connect. Raises OSError if no socket can be had for the answer's candidates."""
        self._accepted = tuple(each for each in self._streams if each.mid in answer.accepted)
        self._ice = ControllingAgent(
            self._local,
            answer.ice,
            answer.candidates,
            consent_timeout_s=self._options.consent_timeout_s,
            now=self._clock.monotonic(),
        )
        self._dtls = DtlsEndpoint(
            self._certificate,
            is_server=answer.we_are_dtls_server,
            peer_fingerprints=answer.fingerprints,
            send=self._send,
        )
        for address in answer.candidates:
            family = _family(address)
            if family not in self._sockets:
                self._sockets[family] = self._open_socket(family)

    async def wait_connected(self) -> None:
        """Wait until media flows. Raises ConnectionLostError if it never does."""
        await asyncio.wait((self._connected, self._ended), return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            raise ConnectionLostError(self._ended.result())

    async def wait_ended(self) -> str:
        """Wait until the connection has ended, by whomever; the reason."""
        return await asyncio.shield(self._ended)

    def mute(self, kind: TrackKind, *, is_muted: bool = True) -> None:
        """Stop, or go on, sending one of the streams; before media flows, too."""
        if is_muted:
            self._muted.add(kind)
        else:
            self._muted.discard(kind)
        self._apply_mutes()

    def beat(self, now: float) -> None:
        """Send what is due at monotonic second `now`."""
        if self._ice is None or self._ended.done():
            return
        for check, address in self._ice.checks_due(now):
            self._send_to(check, address)
        if self._ice.is_lost(now):
            self._end("the server does not answer any more" if self._srtp else "no way to it")
        elif self._srtp is None:
            if self._dtls is not None and self._socket is not None:
                self._drive_handshake(self._dtls)
        else:
            for sender in self._senders:
                for packet in sender.due(now):
                    self._send_media(packet)
            if now >= self._next_report:
                self._next_report = now + _REPORT_INTERVAL_S
                self._report(now)

    def _drive_handshake(self, dtls: DtlsEndpoint) -> None:
        try:
            dtls.retransmit_if_due()
        except DtlsError as error:
            self._end(str(error))

    def close(self, *, says_goodbye: bool = True) -> None:
        """Say goodbye (or not) and free the socket; harmless when it was done before."""
        self._end("closed")
        if self._dtls is not None and says_goodbye:
            self._dtls.close()
        loop = asyncio.get_running_loop()
        for each in self._sockets.values():
            loop.remove_reader(each)
            each.close()
        self._sockets.clear()
        self._socket = None

    def _apply_mutes(self) -> None:
        for sender in self._senders:
            sender.is_muted = sender.kind in self._muted

    def _open_socket(self, family: socket.AddressFamily) -> socket.socket:
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        asyncio.get_running_loop().add_reader(opened, self._read, opened)
        return opened

    def _read(self, readable: socket.socket) -> None:
        while not self._ended.done():
            try:
                datagram, source = readable.recvfrom(MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:
                self._on_refused()
                return
            if datagram:
                self._receive(datagram, source)

    def _receive(self, datagram: bytes, source: Address) -> None:
        """Sort datagrams by their first byte (RFC 7983); what is malformed or forged is dropped."""
        first = datagram[0]
        try:
            if first < 4:
                self._receive_stun(datagram, source)
            elif 20 <= first < 64:
                self._receive_dtls(datagram)
            elif 128 <= first < 192:
                self._receive_rtcp(datagram)
        except (StunError, SrtpError, feedback.FeedbackParseError):
            self._stats.datagrams_refused += 1

    def _receive_stun(self, datagram: bytes, source: Address) -> None:
        if self._ice is None:
            return
        answer = self._ice.receive(datagram, source, self._clock.monotonic())
        if answer is not None:
            self._send_to(answer, source)
        if self._socket is None and self._ice.selected is not None:
            self._select(self._ice.selected)

    def _select(self, address: Address) -> None:
        # A connected socket spares a look-up for each packet and hears that nobody listens there.
        self._socket = self._sockets[_family(address)]
        self._socket.connect(address)
        if self._dtls is not None:
            self._dtls.start()

    def _receive_dtls(self, datagram: bytes) -> None:
        if self._dtls is None:
            return
        try:
            self._dtls.receive(datagram)
        except DtlsError as error:
            # A forged datagram breaks nothing that works; a broken handshake stays broken.
            if self._srtp is None:
                self._end(str(error))
            return
        if self._dtls.is_closed:
            self._end("the server closed the connection")
        elif self._srtp is None and self._dtls.srtp is not None:
            self._begin_media(self._dtls.srtp)

    def _begin_media(self, srtp: SrtpContext) -> None:
        self._srtp = srtp
        now = self._clock.monotonic()
        self._next_report = now + _REPORT_INTERVAL_S
        self._senders = tuple(
            make_sender(
                stream,
                self._media,
                start=now,
                offset_s=self._options.offset_s,
                rotation=self._options.rotation,
                protect=srtp.protect,
            )
            for stream in self._accepted
        )
        self._apply_mutes()
        self._connected.set_result(None)

    def _receive_rtcp(self, datagram: bytes) -> None:
        if self._srtp is None:
            return
        by_ssrc = {sender.ssrc: sender for sender in self._senders}
        for part in feedback.parse_feedback(self._srtp.unprotect_rtcp(datagram)):
            if isinstance(part, feedback.Remb):
                self._stats.remb_kbps = part.bitrate_bps // 1000
                continue
            sender = by_ssrc.get(part.ssrc)
            if sender is None:
                continue
            if isinstance(part, feedback.KeyframeWanted):
                self._stats.keyframes_wanted += 1
                sender.request_keyframe()
            elif isinstance(part, feedback.Nack):
                self._retransmit(sender, part.sequences)
            else:
                now_ntp = ntp_time(self._clock.utc_ms())
                self._stats.round_trip_s = part.round_trip_s(now_ntp) or self._stats.round_trip_s
                self._stats.fraction_lost = part.fraction_lost

    def _retransmit(self, sender: Sender, sequences: Iterable[int]) -> None:
        for sequence in sequences:
            self._stats.packets_nacked += 1
            packet = sender.sent_before(sequence)
            if packet is not None:
                self._send_media(packet)

    def _report(self, now: float) -> None:
        if self._srtp is None:
            return
        for sender in self._senders:
            report = sender.report(now, self._clock.utc_ms(now), self._cname)
            if report is not None:
                self._send(self._srtp.protect_rtcp(report))

    def _send_media(self, packet: bytes) -> None:
        self._stats.packets_sent += 1
        self._stats.bytes_sent += len(packet)
        if self._options.loss and self._loss.random() < self._options.loss:
            self._stats.packets_lost += 1
        else:
            self._send(packet)

    def _send(self, datagram: bytes) -> None:
        if self._socket is None:
            return
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            self._stats.packets_lost += 1  # the send buffer is full: lost, as in the network
        except OSError:
            self._on_refused()

    def _send_to(self, datagram: bytes, address: Address) -> None:
        if self._socket is not None:
            self._send(datagram)
            return
        try:
            self._sockets[_family(address)].sendto(datagram, address)
        except OSError:
            return  # an unreachable candidate is one that does not answer

    def _on_refused(self) -> None:
        if self._ice is not None and self._socket is not None:
            self._ice.refused(self._clock.monotonic())

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
