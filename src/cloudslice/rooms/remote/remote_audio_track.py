"""An anchor's audio in a room of another server.

It is wanted while it has a sink, and some seconds longer. While it is muted it stays as it was, so
that nothing is lost of what is said first.
"""

from collections.abc import Callable
from math import inf

from cloudslice.clock import Clock
from cloudslice.media.tracks import AudioSink, OpusRun
from cloudslice.rooms.remote.remote_track import Caught, Track
from cloudslice.webrtc.audio_receiver import AudioReceiver

_LINGER_S = 5.0
"""Longer than a change of the lists takes that is made in two calls."""


class RemoteAudioTrack(Track[AudioReceiver]):
    """An AudioTrack; an AudioSink of the receiver that it is bound to."""

    _receiver_type = AudioReceiver

    def __init__(self, clock: Clock, caught: Caught) -> None:
        super().__init__(clock, caught)
        self._sinks: tuple[AudioSink, ...] = ()
        self._has_begun = False

    def add_sink(self, sink: AudioSink) -> None:
        """See `AudioTrack`."""
        self._sinks = (*self._sinks, sink)
        self.on_change()

    def remove_sink(self, sink: AudioSink) -> None:
        """See `AudioTrack`."""
        if self._sinks:
            self._used_until = self._clock.monotonic()
        self._sinks = tuple(each for each in self._sinks if each is not sink)

    def is_wanted(self, now: float) -> bool:
        """See `Track`."""
        if self.is_refused:
            return False
        if not self._sinks and self.is_muted and self._used_until > -inf:
            self._used_until = now
        return bool(self._sinks) or now - self._used_until < _LINGER_S

    def is_on(self, _now: float) -> bool:
        """See `Track`."""
        return True

    def switched(self, *, is_on: bool, now: float) -> None:
        """See `Track`."""

    def on_opus(self, run: OpusRun) -> None:
        """See `AudioSink`."""
        self._has_begun = True
        self._tell(lambda sink: sink.on_opus(run))

    def on_restart(self) -> None:
        """See `AudioSink`."""
        self._tell(lambda sink: sink.on_restart())

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        """See `AudioSink`."""
        self._tell(lambda sink: sink.on_sender_time(timestamp, utc_ms))

    def _attach(self, receiver: AudioReceiver) -> None:
        if self._has_begun:  # of another SSRC
            self.on_restart()
        receiver.add_sink(self)

    def _detach(self, receiver: AudioReceiver) -> None:
        receiver.remove_sink(self)

    def _tell(self, tell: Callable[[AudioSink], None]) -> None:
        for sink in self._sinks:
            try:
                tell(sink)
            except Exception as error:
                self._caught(error)
