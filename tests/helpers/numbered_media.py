"""Media that says of each packet and picture who sends it, and which one it is."""

from functools import cache

from aiortc.codecs.vpx import Vp8Encoder

from cloudslice.codecs.vp8 import VP8
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import AudioLoop, Media, PacketizedFrame, VideoLoop
from helpers.encoded_video import HEIGHT, WIDTH, numbered_picture

PACKETS = 500
"""After so many the packets' numbers begin again: 10 s."""
PICTURES = 16
"""The same of pictures."""
PICTURES_PER_S = 5


def speaker(name: str, video: Media | None = None) -> Media:
    """Media whose every Opus packet says who sends it, with another one's video."""
    packets = tuple(b"\xf8" + f"{name}:{number}".encode() for number in range(PACKETS))
    return Media(video.video if video is not None else None, AudioLoop(packets))


def spoken(payload: bytes) -> tuple[str, int] | None:
    """Who has sent a packet of `speaker`, and its number; None: it is none of a speaker's."""
    name, colon, number = payload[1:].partition(b":")
    return (name.decode(), int(number)) if colon and payload[:1] == b"\xf8" else None


@cache
def shown_speaker(name: str, first_number: int) -> Media:
    """A speaker with a video of key frames alone, which show `first_number` to 15 more, again and
    again."""
    encoder = Vp8Encoder()
    frames = []
    for number in range(first_number, first_number + PICTURES):
        payloads, _ = encoder.encode(numbered_picture(number), force_keyframe=True)
        frames.append(PacketizedFrame(tuple(payloads), is_keyframe=True))
    spec = VideoSpec(VP8, WIDTH, HEIGHT, fps=PICTURES_PER_S)
    return speaker(name, Media(VideoLoop(spec, tuple(frames)), None))
