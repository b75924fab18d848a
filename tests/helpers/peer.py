"""An anchor that a test drives packet by packet: ICE, DTLS and SRTP without I/O and clock."""

import struct
from collections.abc import Callable, Sequence

from aiortc.rtp import RtcpByePacket, RtcpPacket, RtcpSenderInfo, RtcpSrPacket

from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.vp8 import VP8
from cloudslice.ids import TrackKind
from cloudslice.webrtc.candidates import host_candidates
from cloudslice.webrtc.dtls import DtlsCertificate, DtlsEndpoint
from cloudslice.webrtc.ice import IceAgent
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.srtp import SrtpContext
from cloudslice.webrtc.udp.paths import make_path

ADDRESS = ("192.0.2.1", 5000)
_SERVER = ("198.51.100.1", 7882)
_SERVER_PATH = make_path(*_SERVER)
(_SERVER_CANDIDATE,) = host_candidates([_SERVER])
PAYLOAD_TYPES = {TrackKind.AUDIO: 111, TrackKind.VIDEO: 96, TrackKind.AUX: 97}
SSRCS = {TrackKind.AUDIO: 0xA0, TrackKind.VIDEO: 0xB0, TrackKind.AUX: 0xC0}
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
        video: VideoCodec = VP8,
        is_dtls_server: bool = False,
        extra_lines: Sequence[str] = (),
    ) -> None:
        self.outbox: list[bytes] = []
        self.rtcp: list[object] = []
        """What the server sent, taken apart."""
        self.srtp: SrtpContext | None = None
        self._is_dtls_server = is_dtls_server
        self._kinds = tuple(kinds)
        self._video = video
        self._extra_lines = tuple(extra_lines)
        self._agent = IceAgent(
            is_lite=False,
            is_controlling=True,
            send=lambda data, _path: self.outbox.append(data),
            now=0,
        )
        self._dtls: DtlsEndpoint | None = None

    @property
    def offer(self) -> str:
        fingerprint = _CERTIFICATE.fingerprint
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
        lines.append("a=group:BUNDLE " + " ".join(str(mid) for mid in range(len(self._kinds))))
        for mid, kind in enumerate(self._kinds):
            is_audio = kind is TrackKind.AUDIO
            number = PAYLOAD_TYPES[kind]
            codec = _AUDIO_LINES if is_audio else (*_codec_lines(self._video), *_VIDEO_LINES)
            lines += [
                f"m={'audio' if is_audio else 'video'} 9 UDP/TLS/RTP/SAVPF {number}",
                "c=IN IP4 0.0.0.0",
                "a=sendonly",
                f"a=mid:{mid}",
                "a=rtcp-mux",
                f"a=ice-ufrag:{self._agent.local.ufrag}",
                f"a=ice-pwd:{self._agent.local.password}",
                f"a=fingerprint:{fingerprint.algorithm} {fingerprint.value}",
                f"a=setup:{'passive' if self._is_dtls_server else 'actpass'}",
                *(line.format(number) for line in (*codec, *self._extra_lines)),
                f"a=ssrc:{SSRCS[kind]} cname:peer",
            ]
        return "\r\n".join(lines) + "\r\n"

    def begin(self, answer: str) -> None:
        """Take the server's answer; the first check is in the outbox."""
        first = parse_remote_description(answer).sections[0].transport
        assert first.ice is not None
        self._agent.set_remote(first.ice, is_lite=True, now=0)
        self._agent.add_candidate(_SERVER_CANDIDATE)
        self._dtls = DtlsEndpoint(
            _CERTIFICATE,
            is_server=first.setup == "active",
            peer_fingerprints=first.fingerprints,
            send=self.outbox.append,
        )
        self.check(0)

    def check(self, now: float) -> None:
        """Put the ICE checks that are due into the outbox."""
        self._agent.send_due(now)

    def receive(self, datagram: bytes) -> None:
        assert self._dtls is not None
        if datagram[0] < 4:
            had_path = self._agent.path is not None
            self._agent.receive(datagram, _SERVER_PATH, 0)
            if not had_path and self._agent.path is not None:
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


def _codec_lines(codec: VideoCodec) -> tuple[str, str]:
    parameters = ";".join(f"{name}={value}" for name, value in codec.variants[0])
    return f"a=rtpmap:{{0}} {codec.name}/{codec.clock_rate}", f"a=fmtp:{{0}} {parameters}"


def shuttle(peer: Peer, deliver: Callable[[bytes], None], inbox: list[bytes]) -> None:
    """Carry datagrams to and fro until both sides are silent."""
    while peer.outbox or inbox:
        while peer.outbox:
            deliver(peer.outbox.pop(0))
        while inbox:
            peer.receive(inbox.pop(0))
