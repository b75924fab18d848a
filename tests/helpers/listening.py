"""A peer with two audio streams and a video stream, and what a batch makes of its datagrams."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cloudslice.rtp import native
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.native import PeerStruct, StreamStruct
from cloudslice.rtp.packet import RtpPacket
from cloudslice.rtp.reception import Reception
from cloudslice.rtp.srtp import SrtpContext

from cloudslice.media.tracks import OpusRun
from helpers.rtp import (
    ClearSrtp,
    make_batch,
    rtp_packet,
    take_in,
)

OPUS, FOREIGN = 111, 13
VP8 = 96
AUDIO_SSRC, OTHER_AUDIO_SSRC, VIDEO_SSRC = 0xA0, 0xA1, 0xB0
CELT_20_MS = b"\xf8"
"""A TOC byte: one frame of 20 ms, 960 samples."""
RTP_LIKE = b"\x80\x6f" + bytes(6)


@dataclass
class Heard:
    """What a batch's datagrams came to."""

    media: list[tuple[int, RtpPacket | OpusRun]] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    """Slots."""

    @property
    def runs(self) -> list[OpusRun]:
        return [media for _track, media in self.media if isinstance(media, OpusRun)]

    @property
    def packets(self) -> list[RtpPacket]:
        return [media for _track, media in self.media if isinstance(media, RtpPacket)]

    @property
    def payloads(self) -> list[bytes]:
        """Opus and video, in the order in which they came out."""
        return [payload for media in self.media for payload in payloads_of(media[1])]


def payloads_of(media: RtpPacket | OpusRun) -> list[bytes]:
    return list(media.packets()) if isinstance(media, OpusRun) else [media.payload]


class Listener:
    """A peer with two audio streams, of tracks 0 and 1, and a video stream, of track 2."""

    def __init__(self, srtp: SrtpContext | None = None) -> None:
        self.srtp = ClearSrtp()
        self.peer = PeerStruct()
        (srtp or self.srtp.context).open_packets_of(self.peer)
        self._owner = srtp
        self.audio = audio_stream(AUDIO_SSRC, track=0)
        self.other_audio = audio_stream(OTHER_AUDIO_SSRC, track=1)
        self.video = stream(native.VIDEO, 90_000, VIDEO_SSRC, track=2)
        self.video.read_highest = -1
        self.video.thinned_until = float("-inf")
        self.peer.listen_to([self.audio, self.other_audio, self.video])

    def hear(self, *datagrams: bytes, arrivals: Sequence[float] = ()) -> Heard:
        return self.take(make_batch(*datagrams, arrivals=arrivals))

    def take(self, batch: Batch) -> Heard:
        heard = Heard()
        heard.others += take_in(
            batch, self.peer, lambda track, media: heard.media.append((track, media))
        )
        return heard


def stream(kind: int, clock_rate: int, ssrc: int, *, track: int) -> StreamStruct:
    made = Reception(kind, clock_rate)
    made.restart(ssrc)
    made.stream.track = track
    return made.stream


def audio_stream(ssrc: int, *, track: int) -> StreamStruct:
    made = stream(native.AUDIO, 48_000, ssrc, track=track)
    made.payload_types[OPUS // 8] = 1 << OPUS % 8
    made.expected = -1
    made.is_in_order = True
    return made


def audio(sequence: int, payload: bytes | None = None, **more: int) -> bytes:
    """A packet of 20 ms, as the first audio stream sends them if none is lost."""
    fields = {"timestamp": sequence * 960, "payload_type": OPUS, "ssrc": AUDIO_SSRC, **more}
    if payload is None:
        payload = CELT_20_MS + sequence.to_bytes(4)
    return rtp_packet(sequence, payload=payload, **fields)


def video(sequence: int, payload: bytes = b"\x10\x00") -> bytes:
    return rtp_packet(sequence, sequence // 5 * 3000, payload, payload_type=VP8, ssrc=VIDEO_SSRC)


def numbers(runs: Sequence[OpusRun]) -> list[list[int]]:
    """Those that `audio` has put into its payloads, by run."""
    return [[int.from_bytes(packet[1:]) for packet in run.packets()] for run in runs]
