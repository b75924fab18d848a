"""Media that is encoded and packetised once and replayed, in a loop, by any number of anchors."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from cloudslice_publisher.encode import (
    OPUS_FRAME_SAMPLES,
    AudioSpec,
    EncodedFrame,
    VideoSpec,
    encode_audio,
    encode_video,
)
from cloudslice_publisher.packetizer import packetize
from cloudslice_publisher.picture import ColourBars, Rgb, RgbImage
from cloudslice_publisher.sound import Pcm, mix, read_pcm, speech, tone

_VIDEO = VideoSpec()
_AUDIO = AudioSpec()

OnProgress = Callable[[float], None]
"""Told how much is done, from 0 to 1; called on the thread that encodes."""


class MediaError(Exception):
    """A file that cannot be published; the text says why."""


class PacketizedFrame(NamedTuple):
    """A video frame as RTP payloads, in order; the last one's packet has the marker bit."""

    payloads: tuple[bytes, ...]
    is_keyframe: bool


@dataclass(frozen=True, eq=False)
class VideoLoop:
    """Encoded video; the first frame is a key frame, so that the end can be followed by it."""

    spec: VideoSpec
    frames: tuple[PacketizedFrame, ...]

    def __post_init__(self) -> None:
        if not self.frames or not self.frames[0].is_keyframe:
            raise ValueError("a video loop must start with a key frame")

    def nearest_keyframe(self, index: int) -> int:
        """The index of the key frame that is nearest to frame `index`, around the loop's end."""
        length = len(self.frames)
        for distance in range(length):
            for candidate in ((index + distance) % length, (index - distance) % length):
                if self.frames[candidate].is_keyframe:
                    return candidate
        raise AssertionError("unreachable: frame 0 is a key frame")


@dataclass(frozen=True, eq=False)
class AudioLoop:
    """Opus packets of 20 ms each, as they stand in RTP."""

    packets: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not self.packets:
            raise ValueError("an audio loop must have a packet")


@dataclass(frozen=True, eq=False)
class Media:
    """What an anchor sends; `aux`, a screen share, is a second video."""

    video: VideoLoop | None
    audio: AudioLoop | None
    aux: VideoLoop | None = None

    def __post_init__(self) -> None:
        if self.video is None and self.audio is None and self.aux is None:
            raise ValueError("there must be video or audio")


@dataclass(frozen=True, slots=True)
class Look:
    """What tells one synthetic anchor from another.

    Attributes:
        name: written in the picture.
        accent: the colour of the band that the name stands in.
        tone_hz: of the tone; beeps on each full second are an octave higher.
        speech: read aloud over the tone, if not empty; needs espeak-ng.
    """

    name: str = ""
    accent: Rgb = (32, 64, 160)
    tone_hz: int = 440
    speech: str = ""


def synthetic_media(
    look: Look,
    *,
    video: VideoSpec | None = _VIDEO,
    audio: AudioSpec | None = _AUDIO,
    seconds: int = 20,
    on_progress: OnProgress | None = None,
) -> Media:
    """Colour bars with a clock, and a tone with beeps; a loop of `seconds`.

    Encoding takes about 10 ms of CPU for a frame of 720p; do it on a thread.

    Raises:
        SpeechUnavailableError: `look` wants speech, and espeak-ng is not there.
    """
    sound = None if audio is None else _encode_sound(_synthetic_sound(look, seconds), audio)
    if video is None:
        return Media(None, sound)
    painter = ColourBars(video.width, video.height, look.name, look.accent)
    count = seconds * video.fps
    pictures = (painter.paint(index / video.fps) for index in range(count))
    return Media(_encode_pictures(pictures, count, video, on_progress), sound)


def file_media(
    path: Path,
    *,
    video: VideoSpec | None = _VIDEO,
    audio: AudioSpec | None = _AUDIO,
    seconds: float = 60,
    on_progress: OnProgress | None = None,
) -> Media:
    """The first `seconds` of a media file, encoded anew; shorter if the file is.

    The picture is fitted into the size of `video` between black bars. Encoding takes a while; do
    it on a thread.

    Raises:
        MediaError: the file cannot be read, or has neither of the streams that are wanted.
    """
    try:
        with av.open(path, "r") as container:
            has_video, has_audio = bool(container.streams.video), bool(container.streams.audio)
        sound = read_pcm(path, seconds) if audio is not None and has_audio else None
        loop = None
        if video is not None and has_video:
            count = max(1, _frame_count(path, seconds, video.fps))
            pictures = _read_pictures(path, video, count)
            loop = _encode_pictures(pictures, count, video, on_progress)
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise MediaError(f"{path}: {error}") from error
    if loop is None and sound is None:
        raise MediaError(f"{path}: has none of the streams that are to be published")
    return Media(loop, None if sound is None or audio is None else _encode_sound(sound, audio))


def _synthetic_sound(look: Look, seconds: int) -> Pcm:
    sound = tone(look.tone_hz, seconds)
    return mix(sound, speech(look.speech)) if look.speech else sound


def _encode_sound(pcm: Pcm, spec: AudioSpec) -> AudioLoop:
    # A file's last packet is filled up with silence.
    missing = -pcm.size % OPUS_FRAME_SAMPLES or (0 if pcm.size else OPUS_FRAME_SAMPLES)
    return AudioLoop(tuple(encode_audio(np.pad(pcm, (0, missing)), spec)))


def _encode_pictures(
    pictures: Iterable[RgbImage], count: int, spec: VideoSpec, on_progress: OnProgress | None
) -> VideoLoop:
    frames = []
    for frame in encode_video(pictures, spec):
        frames.append(_packetized(frame, spec))
        if on_progress is not None:
            on_progress(min(1.0, len(frames) / count))
    return VideoLoop(spec, tuple(frames))


def _packetized(frame: EncodedFrame, spec: VideoSpec) -> PacketizedFrame:
    return PacketizedFrame(packetize(spec.codec, frame.data), frame.is_keyframe)


def _frame_count(path: Path, seconds: float, fps: int) -> int:
    with av.open(path, "r") as container:
        duration = container.duration  # in microseconds, where the container knows it
        length = seconds if duration is None else min(seconds, duration / av.time_base)
    return math.floor(length * fps)


def _read_pictures(path: Path, spec: VideoSpec, count: int) -> Iterator[RgbImage]:
    """`count` pictures at the rate of `spec`: at each instant the file's newest one."""
    made = 0
    picture: RgbImage | None = None
    start_s = None
    with av.open(path, "r") as container:
        for frame in container.decode(container.streams.video[0]):
            time_s = frame.time or 0.0
            start_s = time_s if start_s is None else start_s
            while picture is not None and made < count and made / spec.fps < time_s - start_s:
                yield picture
                made += 1
            if made >= count:
                return
            picture = _fitted(frame, spec)
    if picture is None:
        raise MediaError(f"{path}: has no picture that can be decoded")
    for _ in range(made, count):
        yield picture


def _fitted(frame: av.VideoFrame, spec: VideoSpec) -> RgbImage:
    scale = min(spec.width / frame.width, spec.height / frame.height)
    width = max(2, round(frame.width * scale / 2) * 2)
    height = max(2, round(frame.height * scale / 2) * 2)
    picture = np.zeros((spec.height, spec.width, 3), dtype=np.uint8)
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    scaled = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    picture[top : top + height, left : left + width] = scaled
    return picture
