"""An anchor that a test drives packet by packet: ICE, DTLS and SRTP without I/O and clock."""

import struct
from collections.abc import Callable, Sequence

from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpSenderInfo, RtcpSrPacket

from cloudslice.media.tracks import TrackKind, VideoCodec
from cloudslice.rtp.dtls import DtlsCertificate, DtlsEndpoint
from cloudslice.rtp.ice import Address, IceCredentials
from cloudslice.rtp.srtp import SrtpContext
from helpers.former_ice import ControllingAgent
from helpers.former_sdp import OfferedStream, make_offer, parse_answer

SERVER: Address = ("198.51.100.1", 7882)
ADDRESS: Address = ("192.0.2.1", 5000)
PAYLOAD_TYPES = {TrackKind.AUDIO: 111, TrackKind.VIDEO: 96, TrackKind.AUX: 97}
SSRCS = {TrackKind.AUDIO: 0xA0, TrackKind.VIDEO: 0xB0, TrackKind.AUX: 0xC0}
CODEC_LINES = {
    VideoCodec.VP8: ("a=rtpmap:{0} VP8/90000",),
    VideoCodec.H264: (
        "a=rtpmap:{0} H264/90000",
        "a=fmtp:{0} profile-level-id=42e01f;packetization-mode=1",
    ),
}
_AUDIO_LINES = ("a=rtpmap:{0} opus/48000/2", "a=rtcp-fb:{0} nack")
_VIDEO_LINES = ("a=rtcp-fb:{0} nack", "a=rtcp-fb:{0} nack pli", "a=rtcp-fb:{0} goog-remb")
_CERTIFICATE = DtlsCertificate()


class Peer:
    """Its datagrams to the server are put into `outbox`; `receive` takes the server's.

    Args:
        kinds: what it sends.
        video: how.
        is_dtls_server: whether it offers a=setup:passive.
        extra_lines: more attributes of every media section.
    """

    def __init__(
        self,
        kinds: Sequence[TrackKind] = (TrackKind.AUDIO, TrackKind.VIDEO),
        *,
        video: VideoCodec = VideoCodec.VP8,
        is_dtls_server: bool = False,
        extra_lines: Sequence[str] = (),
    ) -> None:
        self.outbox: list[bytes] = []
        self.rtcp: list[object] = []
        """What the server sent, taken apart."""
        self.srtp: SrtpContext | None = None
        self._ice = IceCredentials.generate()
        self._is_dtls_server = is_dtls_server
        self._streams = []
        for index, kind in enumerate(kinds):
            is_audio = kind is TrackKind.AUDIO
            lines = _AUDIO_LINES if is_audio else (*CODEC_LINES[video], *_VIDEO_LINES)
            number = PAYLOAD_TYPES[kind]
            codec_lines = tuple(line.format(number) for line in (*lines, *extra_lines))
            self._streams.append(OfferedStream(kind, str(index), number, SSRCS[kind], codec_lines))
        self._agent: ControllingAgent | None = None
        self._dtls: DtlsEndpoint | None = None

    @property
    def offer(self) -> str:
        offer = make_offer(
            self._streams, ice=self._ice, fingerprint=_CERTIFICATE.fingerprint, cname="peer"
        )
        return (
            offer.replace("a=setup:actpass", "a=setup:passive") if self._is_dtls_server else offer
        )

    def begin(self, answer: str) -> None:
        """Take the server's answer; the first check is in the outbox."""
        parsed = parse_answer(answer)
        self._agent = ControllingAgent(
            self._ice, parsed.ice, parsed.candidates, consent_timeout_s=10, now=0
        )
        self._dtls = DtlsEndpoint(
            _CERTIFICATE,
            is_server=parsed.we_are_dtls_server,
            peer_fingerprints=parsed.fingerprints,
            send=self.outbox.append,
        )
        self.check(0)

    def check(self, now: float) -> None:
        """Put the ICE checks that are due into the outbox."""
        assert self._agent is not None
        self.outbox += [request for request, _address in self._agent.checks_due(now)[:1]]

    def receive(self, datagram: bytes) -> None:
        assert self._agent is not None
        assert self._dtls is not None
        if datagram[0] < 4:
            was_selected = self._agent.selected is not None
            self._agent.receive(datagram, SERVER, 0)
            if not was_selected:
                self._dtls.start()
        elif datagram[0] < 64:
            self._dtls.receive(datagram)
            self.srtp = self._dtls.srtp
        else:
            assert self.srtp is not None
            self.rtcp += RtcpPacket.parse(self.srtp.unprotect_rtcp(datagram))

    def close(self) -> None:
        """Say goodbye."""
        assert self._dtls is not None
        self._dtls.close()

    def rtp(
        self,
        kind: TrackKind,
        sequence: int,
        timestamp: int,
        payload: bytes,
        *,
        marker: bool = False,
        ssrc: int | None = None,
        payload_type: int | None = None,
    ) -> bytes:
        """An SRTP packet."""
        assert self.srtp is not None
        number = PAYLOAD_TYPES[kind] if payload_type is None else payload_type
        header = struct.pack(
            ">BBHII",
            0x80,
            marker << 7 | number,
            sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            SSRCS[kind] if ssrc is None else ssrc,
        )
        return self.srtp.protect(header + payload)

    def sender_report(self, kind: TrackKind, timestamp: int, ntp: int) -> bytes:
        """An SRTCP packet that ties `timestamp` to the 64-bit NTP time."""
        assert self.srtp is not None
        info = RtcpSenderInfo(
            ntp_timestamp=ntp, rtp_timestamp=timestamp, packet_count=1, octet_count=1
        )
        return self.srtp.protect_rtcp(bytes(RtcpSrPacket(ssrc=SSRCS[kind], sender_info=info)))

    def goodbye(self, kind: TrackKind) -> bytes:
        """An SRTCP BYE."""
        assert self.srtp is not None
        return self.srtp.protect_rtcp(bytes(RtcpByePacket(sources=[SSRCS[kind]])))


def shuttle(peer: Peer, deliver: Callable[[bytes], None], inbox: list[bytes]) -> None:
    """Carry datagrams to and fro until both sides are silent."""
    while peer.outbox or inbox:
        while peer.outbox:
            deliver(peer.outbox.pop(0))
        while inbox:
            peer.receive(inbox.pop(0))
