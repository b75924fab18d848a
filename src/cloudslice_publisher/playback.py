"""When which unit of a media loop is due: decided from the time alone, without I/O."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cloudslice_publisher.media import AudioLoop, PacketizedFrame, VideoLoop

VIDEO_CLOCK_RATE = 90_000
AUDIO_CLOCK_RATE = 48_000
_AUDIO_PACKETS_PER_S = 50

_MAX_LAG_S = 1.0
"""Who is late by more has been asleep: it skips what it missed instead of flooding the network."""

_KEYFRAME_INTERVAL_S = 0.3
"""As in libwebrtc: a receiver that asks again within a round trip gets one key frame, not two."""


class DueAudio(NamedTuple):
    """An Opus packet, its RTP ticks since the start, and whether it is the first after silence."""

    packet: bytes
    ticks: int
    is_talkspurt: bool


class DueFrame(NamedTuple):
    """A video frame and its RTP ticks since the start."""

    frame: PacketizedFrame
    ticks: int


@dataclass(slots=True)
class _Schedule:
    """Numbers the units of a steady stream: unit n is due at `start` + n / `rate` seconds."""

    start: float
    rate: int
    next: int = 0

    def due(self, now: float) -> range:
        """The units that are due and were not handed out before."""
        end = max(self.next, int((now - self.start) * self.rate) + 1)
        if end - self.next > self.rate * _MAX_LAG_S:
            self.next = end - 1
        units = range(self.next, end)
        self.next = end
        return units


class AudioPlayback:
    """Plays an audio loop from monotonic second `start` on.

    Args:
        loop: what is played.
        start: when its first packet is due.
        offset_s: where in the loop to begin.
    """

    def __init__(self, loop: AudioLoop, *, start: float, offset_s: float = 0) -> None:
        self._packets = loop.packets
        self._schedule = _Schedule(start, _AUDIO_PACKETS_PER_S)
        self._offset = round(offset_s * _AUDIO_PACKETS_PER_S)
        self._ticks = AUDIO_CLOCK_RATE // _AUDIO_PACKETS_PER_S
        self._was_silent = True
        self.is_muted = False
        """While set, packets are due as before and none is handed out."""

    def due(self, now: float) -> Iterator[DueAudio]:
        """What is due at monotonic second `now` and was not handed out before."""
        for number in self._schedule.due(now):
            if not self.is_muted:
                packet = self._packets[(number + self._offset) % len(self._packets)]
                yield DueAudio(packet, number * self._ticks, self._was_silent)
            self._was_silent = self.is_muted


class VideoPlayback:
    """Plays a video loop from monotonic second `start` on.

    When a key frame is asked for, the next frame is the loop's key frame that is nearest to where
    the loop should be by the time: what follows refers to it, and picture and sound stay within
    half a key frame interval of each other however often somebody asks.

    Args: see AudioPlayback.
    """

    def __init__(self, loop: VideoLoop, *, start: float, offset_s: float = 0) -> None:
        self._loop = loop
        self._schedule = _Schedule(start, loop.spec.fps)
        self._offset = round(offset_s * loop.spec.fps)
        self._shift = 0
        self._ticks = VIDEO_CLOCK_RATE // loop.spec.fps
        self._is_keyframe_wanted = True
        self._last_keyframe_at = float("-inf")
        self._is_muted = False

    @property
    def is_muted(self) -> bool:
        """While set, frames are due as before and none is handed out; a key frame comes after."""
        return self._is_muted

    @is_muted.setter
    def is_muted(self, value: bool) -> None:
        self._is_keyframe_wanted = self._is_keyframe_wanted or (self._is_muted and not value)
        self._is_muted = value

    def request_keyframe(self) -> None:
        """Let the next frame be a key frame, or, just after one, the first that may be."""
        self._is_keyframe_wanted = True

    def due(self, now: float) -> Iterator[DueFrame]:
        """What is due at monotonic second `now` and was not handed out before."""
        expected = self._schedule.next
        units = self._schedule.due(now)
        if units.start != expected:
            self._is_keyframe_wanted = True  # the frames between refer to what was skipped
        for number in units:
            if not self._is_muted:
                yield DueFrame(self._frame(number, now), number * self._ticks)

    def _frame(self, number: int, now: float) -> PacketizedFrame:
        frames = self._loop.frames
        position = number + self._offset
        may_jump = now - self._last_keyframe_at >= _KEYFRAME_INTERVAL_S
        if self._is_keyframe_wanted and may_jump:
            self._shift = self._loop.nearest_keyframe(position % len(frames)) - position
        frame = frames[(position + self._shift) % len(frames)]
        if frame.is_keyframe:
            self._is_keyframe_wanted = False
            self._last_keyframe_at = now
        return frame
