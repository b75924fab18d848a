"""When what is due, told by a clock that the test moves."""

import pytest

from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import AudioLoop, PacketizedFrame, VideoLoop
from cloudslice_publisher.playback import AudioPlayback, DueAudio, VideoPlayback

START = 1000.0
FPS = 10


def audio(offset_s: float = 0) -> AudioPlayback:
    loop = AudioLoop((b"a", b"b", b"c"))
    return AudioPlayback(loop, start=START, offset_s=offset_s)


class Video:
    """A loop of 30 frames with a key frame each second; frames are known by their numbers."""

    def __init__(self, offset_s: float = 0) -> None:
        frames = tuple(
            PacketizedFrame((str(index).encode(),), index % FPS == 0) for index in range(30)
        )
        loop = VideoLoop(VideoSpec(fps=FPS), frames)
        self.playback = VideoPlayback(loop, start=START, offset_s=offset_s)

    def play(self, start_s: float, end_s: float) -> list[int]:
        """The frames between two instants, on a beat of 20 ms."""
        steps = range(round(start_s * 50), round(end_s * 50))
        return [
            int(frame.payloads[0])
            for step in steps
            for frame, _ticks in self.playback.due(START + step / 50)
        ]


def test_audio_comes_once_each_20_ms() -> None:
    """Three packets in 45 ms, with their ticks; none twice."""
    playback = audio()
    assert list(playback.due(START)) == [DueAudio(b"a", 0, True)]
    assert list(playback.due(START + 0.01)) == []
    assert list(playback.due(START + 0.045)) == [
        DueAudio(b"b", 960, False),
        DueAudio(b"c", 1920, False),
    ]
    assert list(playback.due(START + 0.061)) == [DueAudio(b"a", 2880, False)]


def test_audio_begins_at_its_offset() -> None:
    assert [due.packet for due in audio(offset_s=0.04).due(START + 0.03)] == [b"c", b"a"]


def test_muted_audio_keeps_time() -> None:
    """After silence the ticks are where they would have been, and sound is marked as beginning."""
    playback = audio()
    list(playback.due(START))
    playback.is_muted = True
    assert list(playback.due(START + 0.045)) == []
    playback.is_muted = False
    assert list(playback.due(START + 0.061)) == [DueAudio(b"a", 2880, True)]


def test_a_sleeper_skips_what_it_missed() -> None:
    """After ten seconds of sleep one packet comes, not five hundred; its ticks tell the truth."""
    playback = audio()
    list(playback.due(START))
    assert [due.ticks for due in playback.due(START + 10)] == [480_000]


def test_lateness_is_made_up_for() -> None:
    """Half a second late is a busy machine: nothing is skipped."""
    playback = audio()
    list(playback.due(START))
    assert len(list(playback.due(START + 0.5))) == 25


def test_video_loops() -> None:
    """All frames in order, then from the start again, one each 100 ms."""
    video = Video()
    assert video.play(0, 4) == [*range(30), *range(10)]


def test_video_ticks_go_on_around_the_loop() -> None:
    video = Video()
    video.play(0, 3)
    assert [due.ticks for due in video.playback.due(START + 3.15)] == [30 * 9000, 31 * 9000]


def test_video_begins_with_the_key_frame_nearest_to_its_offset() -> None:
    """A receiver could show nothing else."""
    assert Video(offset_s=1.2).play(0, 0.3) == [10, 11, 12]


@pytest.mark.parametrize(
    ("asked_at_s", "continues_with"),
    [
        pytest.param(0.35, 0, id="back to the one before"),
        pytest.param(0.75, 10, id="on to the next"),
        pytest.param(2.75, 0, id="on around the end"),
    ],
)
def test_the_very_next_frame_is_the_key_frame_asked_for(
    asked_at_s: float, continues_with: int
) -> None:
    """It is the loop's nearest one, and the frames that refer to it follow."""
    video = Video()
    video.play(0, asked_at_s)
    video.playback.request_keyframe()
    after = video.play(asked_at_s, asked_at_s + 0.3)
    assert after == [continues_with, continues_with + 1, continues_with + 2]


def test_jumps_do_not_add_up() -> None:
    """However often key frames are asked for, the loop stays where the time says, within half
    a key frame interval: sound goes with it."""
    video = Video()
    time_s = 0.0
    for _ in range(12):
        video.play(time_s, time_s + 0.7)
        time_s += 0.7
        video.playback.request_keyframe()
        [frame] = video.play(time_s, time_s + 0.1)
        expected = round(time_s * FPS) % 30
        distance = min((frame - expected) % 30, (expected - frame) % 30)
        assert distance <= FPS // 2
        time_s += 0.1


def test_asking_again_at_once_brings_one_more_a_moment_later() -> None:
    """A key frame each 300 ms at most, and the wish is not forgotten."""
    video = Video()
    video.play(0, 0.4)
    video.playback.request_keyframe()
    video.playback.request_keyframe()
    assert video.play(0.4, 0.5) == [0]
    video.playback.request_keyframe()
    after = video.play(0.5, 1.0)
    assert after[:2] == [1, 2]
    assert [frame for frame in after if frame % FPS == 0] == [10]


def test_muted_video_comes_back_with_a_key_frame() -> None:
    """Frames were left out that the next ones refer to."""
    video = Video()
    video.play(0, 0.45)
    video.playback.is_muted = True
    assert video.play(0.45, 1.35) == []
    video.playback.is_muted = False
    assert video.play(1.35, 1.55) == [10, 11]


def test_skipped_video_comes_back_with_a_key_frame() -> None:
    video = Video()
    video.play(0, 0.45)
    assert video.play(5.35, 5.55) == [20, 21, 22]
