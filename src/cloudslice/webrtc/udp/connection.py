"""What a UDP port needs of a connection that it hands datagrams to."""

from typing import Protocol

from cloudslice.media.tracks import OpusRun
from cloudslice.webrtc.rtp_packet import RtpPacket


class MediaEvents(Protocol):
    """What takes in a connection's media."""

    def on_run(self, track: int, run: OpusRun) -> None:
        """The next Opus packets of a track."""
        ...

    def on_packet(self, track: int, packet: RtpPacket) -> None:
        """A packet of a video that is read."""
        ...

    def on_missing(self, track: int, sequences: tuple[int, ...]) -> None:
        """Packets of a track are to be asked for again."""
        ...

    def on_unknown(self, ssrc: int, packet: RtpPacket) -> None:
        """An authentic packet of an SSRC that nobody receives."""
        ...

    def on_refused(self, ssrc: int, sequence: int) -> None:
        """The first packet of an SSRC, by its 16 bit sequence number, is not authentic."""
        ...


class Connection(Protocol):
    """What a port hands datagrams to, and reminds of what is due."""

    @property
    def next_deadline(self) -> float:
        """The monotonic second by which to call `send_due`."""
        ...

    def send_due(self, now: float) -> None:
        """Send what is due at monotonic second `now`."""
        ...

    def on_datagram(self, data: bytes, path: bytes, arrival: float) -> bool:
        """What is no RTP has come on a path of the connection; a STUN check from elsewhere that
        names it, too. False: it is no DTLS and no RTCP, and no STUN that proves to be the
        peer's."""
        ...

    def on_moved(self, path: bytes, arrival: float) -> None:
        """Authentic media has come from a new address."""
        ...

    def on_unreachable(self, path: bytes) -> None:
        """The network says that nothing can be sent on `path`; it may be another connection's."""
        ...

    @property
    def streams(self) -> MediaEvents:
        """What takes in media."""
        ...

    def close(self) -> None: ...
