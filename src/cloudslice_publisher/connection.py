"""One WebRTC connection that only sends media: it offers, and checks the paths to who answers."""

import asyncio
import secrets
from dataclasses import dataclass

from cloudslice.clock import Clock
from cloudslice.ids import TrackKind
from cloudslice.webrtc import connection_user
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.connection_user import CloseReason, ConnectionState
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice_publisher.media import Media
from cloudslice_publisher.ports import ReadyPorts, SenderPort
from cloudslice_publisher.sections import plan_streams
from cloudslice_publisher.sender import SendStats, make_sender
from cloudslice_publisher.senders import Senders

_SENDS_ONLY = ReceivePolicy(
    max_sections={}, max_video_bitrate_kbps=0, we_are_ice_lite=False, needs_media=False
)
_REASONS = {
    CloseReason.LEFT: "the server closed the connection",
    CloseReason.LOST: "the server does not answer any more",
    CloseReason.FAILED: "no connection",
    CloseReason.ENDED: "closed",
}


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

    Call `start` with the answer and then `send_due` every 20 ms or so; `close` when done. It has a
    UDP port of its own, as a server tells publishers apart by their addresses.

    Args:
        media: what is sent.
        certificate: ours.
        stats: counts what is sent; may be shared by connections that follow each other.
        ports: reads the connection's port.
        clock: for pacing, and for the wall time in sender reports.

    Raises:
        PortInUseError: no UDP port can be had.
    """

    def __init__(
        self,
        media: Media,
        options: ConnectionOptions,
        *,
        certificate: DtlsCertificate,
        stats: SendStats,
        ports: ReadyPorts,
        clock: Clock,
    ) -> None:
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._options = options
        self._stats = stats
        self._clock = clock
        self._streams = plan_streams(media, secrets.token_hex(8))
        self._muted: set[TrackKind] = set()
        self._ports = ports
        self._port = SenderPort(clock)
        self._peer = PeerConnection(
            self._port,
            certificate,
            connection_user.ConnectionOptions(
                _SENDS_ONLY, options.consent_timeout_s, is_controlling=True
            ),
            self,
            clock,
        )
        self._senders = Senders(self._peer, stats, clock, loss=options.loss)

    def offer(self) -> str:
        """The SDP offer."""
        return self._peer.offer([stream.section for stream in self._streams])

    def start(self, answer: str) -> None:
        """Begin to connect.

        Raises:
            SdpError: it is no answer, or takes nothing.
        """
        self._peer.accept(parse_remote_description(answer))
        self._ports.add(self._port)

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

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`."""
        if now >= self._peer.next_deadline:
            self._port.tick(now)
        if self._peer.state is ConnectionState.CONNECTED:
            unsent = self._port.unsent
            self._senders.send_due(now)
            self._stats.packets_lost += self._port.unsent - unsent

    def close(self, *, says_goodbye: bool = True) -> None:
        """Say goodbye (or not) and free the port; harmless when it was done before."""
        self._ports.remove(self._port)
        self._port.is_cut = not says_goodbye
        self._port.close()

    def on_connected(self) -> None:
        """Begin to send what the server takes."""
        srtp, negotiation = self._peer.transport.srtp, self._peer.negotiation
        assert srtp is not None and negotiation is not None  # noqa: S101, PT018
        taken = {each.mid: each for each in negotiation.taken if each.direction.sends}
        now = self._clock.monotonic()
        self._senders.add(
            make_sender(
                stream,
                taken[stream.section.mid],
                start=now,
                offset_s=self._options.offset_s,
                rotation=self._options.rotation,
                protect=srtp.protect,
            )
            for stream in self._streams
            if stream.section.mid in taken
        )
        self._apply_mutes()
        self._connected.set_result(None)

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        """Nothing is sent any more."""
        text = _REASONS[reason]
        self._ended.set_result(f"{text}: {failure}" if failure else text)

    def _apply_mutes(self) -> None:
        for sender in self._senders:
            sender.is_muted = sender.kind in self._muted
