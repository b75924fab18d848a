"""What is encoded can be decoded from each key frame on, and is what was painted and played."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from aiortc.codecs.h264 import h264_depayload
from aiortc.codecs.vpx import vp8_depayload

from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice_publisher.encode import AudioSpec, EncodedFrame, VideoSpec, encode_video
from cloudslice_publisher.media import (
    Look,
    Media,
    MediaError,
    PacketizedFrame,
    VideoLoop,
    file_media,
    synthetic_media,
)
from cloudslice_publisher.picture import ColourBars
from cloudslice_publisher.sound import SAMPLE_RATE, Pcm, tone
from helpers.video_codecs import each_published_codec


def small(codec: VideoCodec = H264, fps: int = 15) -> VideoSpec:
    return VideoSpec(codec, 160, 120, fps, bitrate_kbps=300, keyframe_interval_s=1)


def decode_video(codec: VideoCodec, frames: Iterable[PacketizedFrame]) -> list[av.VideoFrame]:
    depayload = h264_depayload if codec is H264 else vp8_depayload
    decoder = av.CodecContext.create(codec.decoding.decoder, "r")
    pictures: list[av.VideoFrame] = []
    for frame in frames:
        packet = av.Packet(b"".join(map(depayload, frame.payloads)))
        pictures += decoder.decode(packet)
    return pictures + decoder.decode(None)


def decode_audio(packets: Iterable[bytes]) -> Pcm:
    decoder = av.CodecContext.create("libopus", "r")
    decoder.sample_rate, decoder.layout = SAMPLE_RATE, "mono"
    frames = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def assert_shows(picture: av.VideoFrame, bars: ColourBars) -> None:
    image = picture.to_ndarray(format="rgb24").astype(int)
    for x, y, colour in bars.swatches():
        assert np.abs(image[y, x] - colour).max() <= 12, (x, y, colour, image[y, x])


@each_published_codec
def test_a_loop_can_be_decoded_from_each_key_frame(codec: VideoCodec) -> None:
    """A key frame each second; from any on, all pictures come and show the bars."""
    look = Look("alice", accent=(160, 32, 64))
    loop = synthetic_media(look, video=small(codec), audio=None, seconds=3).video
    assert loop is not None
    keyframes = [index for index, frame in enumerate(loop.frames) if frame.is_keyframe]
    assert keyframes == [0, 15, 30]
    for start in keyframes:
        pictures = decode_video(codec, loop.frames[start:])
        assert len(pictures) == 45 - start
        for picture in pictures:
            assert_shows(picture, ColourBars(160, 120, accent=(160, 32, 64)))


def test_h264_says_which_colours_it_has() -> None:
    """BT.709, limited range: else a viewer would have to guess by the size."""
    loop = synthetic_media(Look(), video=small(), audio=None, seconds=1).video
    assert loop is not None
    picture = decode_video(H264, loop.frames[:1])[0]
    assert (picture.colorspace, picture.color_range) == (1, 1)


@each_published_codec
def test_the_bitrate_is_about_what_was_asked_for(codec: VideoCodec) -> None:
    """Within a quarter, over ten seconds."""
    spec = VideoSpec(codec, 320, 180, 15, bitrate_kbps=200)
    bars = ColourBars(320, 180)
    frames = list(encode_video((bars.paint(index / 15) for index in range(150)), spec))
    kbps = sum(len(frame.data) for frame in frames) * 8 / 10 / 1000
    assert kbps == pytest.approx(200, rel=0.25)


def test_the_tone_is_heard() -> None:
    """Opus packets of 20 ms that decode to the anchor's frequency."""
    loop = synthetic_media(Look(tone_hz=523), video=None, seconds=2).audio
    assert loop is not None
    assert len(loop.packets) == 100
    pcm = decode_audio(loop.packets)[int(0.3 * SAMPLE_RATE) : int(0.9 * SAMPLE_RATE)]
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    assert np.argmax(spectrum) * SAMPLE_RATE / pcm.size == pytest.approx(523, abs=4)


def test_progress_ends_with_all() -> None:
    shown: list[float] = []
    synthetic_media(Look(), video=small(), audio=None, seconds=1, on_progress=shown.append)
    assert shown == sorted(shown)
    assert len(shown) == 15
    assert shown[-1] == 1


@pytest.mark.parametrize(
    ("index", "nearest"),
    [(0, 0), (2, 0), (3, 5), (5, 5), (6, 5), (8, 10), (10, 10), (12, 10), (13, 0), (14, 0)],
)
def test_nearest_keyframe_goes_around_the_end(index: int, nearest: int) -> None:
    frames = tuple(PacketizedFrame((b"",), number in (0, 5, 10)) for number in range(15))
    assert VideoLoop(small(), frames).nearest_keyframe(index) == nearest


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"width": 641}, id="odd width"),
        pytest.param({"height": 361}, id="odd height"),
        pytest.param({"fps": 0}, id="no fps"),
        pytest.param({"fps": 7}, id="fps that ticks do not divide by"),
    ],
)
def test_impossible_specs_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        VideoSpec(**arguments)


def test_media_must_have_something() -> None:
    with pytest.raises(ValueError, match="video or audio"):
        Media(None, None)


def test_a_loop_must_start_with_a_key_frame() -> None:
    with pytest.raises(ValueError, match="key frame"):
        VideoLoop(small(), (PacketizedFrame((b"",), False),))


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds of bars, 160x120 at 10 frames a second, with a tone, in Matroska."""
    path = tmp_path / "recording.mkv"
    bars = ColourBars(160, 120, accent=(200, 40, 40))
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=10, options={"qp": "10"})
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono")
        for index in range(20):
            frame = av.VideoFrame.from_ndarray(bars.paint(index / 10), format="rgb24")
            container.mux(video.encode(frame))
        sound = av.AudioFrame.from_ndarray(tone(660, 2)[np.newaxis], format="s16", layout="mono")
        sound.sample_rate, sound.pts = SAMPLE_RATE, 0
        container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


def test_a_file_is_brought_to_the_size_and_rate_wanted(recording: Path) -> None:
    """Each picture of the file is shown as long as in the file, between black bars."""
    spec = VideoSpec(H264, 320, 120, 30, bitrate_kbps=500, keyframe_interval_s=1)
    media = file_media(recording, video=spec)
    assert media.video is not None
    assert media.audio is not None
    assert len(media.audio.packets) == pytest.approx(100, abs=2)
    pictures = decode_video(H264, media.video.frames)
    assert len(pictures) == 60
    image = pictures[30].to_ndarray(format="rgb24").astype(int)
    assert image.shape == (120, 320, 3)
    assert image[:, :70].max() < 10
    assert image[:, 250:].max() < 10
    bars = ColourBars(160, 120, accent=(200, 40, 40))
    for x, y, colour in bars.swatches():
        assert np.abs(image[y, x + 80] - colour).max() <= 16


def test_a_file_is_cut_at_the_limit(recording: Path) -> None:
    media = file_media(recording, video=small(), seconds=1)
    assert media.video is not None
    assert media.audio is not None
    assert (len(media.video.frames), len(media.audio.packets)) == (15, 50)


@pytest.mark.parametrize(
    ("video", "audio"),
    [
        pytest.param(None, AudioSpec(), id="audio only"),
        pytest.param(small(), None, id="video only"),
    ],
)
def test_only_what_is_wanted_is_read(
    recording: Path, video: VideoSpec | None, audio: AudioSpec | None
) -> None:
    media = file_media(recording, video=video, audio=audio)
    assert (media.video is None, media.audio is None) == (video is None, audio is None)


def test_files_that_cannot_be_published_are_named(tmp_path: Path, recording: Path) -> None:
    """Missing, not media, or without the streams that are wanted."""
    text = tmp_path / "notes.txt"
    text.write_text("no media")
    for path in (tmp_path / "missing.mp4", text):
        with pytest.raises(MediaError, match=path.name):
            file_media(path)
    with pytest.raises(MediaError, match="none of the streams"):
        file_media(recording, video=None, audio=None)


def test_frames_hold_what_the_encoder_made() -> None:
    """The first frame carries the parameter sets that a decoder needs."""
    frame = next(encode_video([ColourBars(160, 120).paint(0)], small()))
    assert isinstance(frame, EncodedFrame)
    assert frame.is_keyframe
    assert b"\x00\x00\x01\x67" in frame.data
