"""The tracks of a LiveKit room: nothing is sent to us of what nobody has asked for.

A track outlives the connection that it came by: it is the same while the server knows it by the
same name, so that a slice goes on when the connection is made anew.

1. An audio track is subscribed to while it has a sink, and some seconds longer. While it is muted
   the subscription stays, so that nothing is lost of what is said first.
2. A video track is subscribed to when a key frame is asked for. Between two pictures the server
   sends nothing of it, if that is wanted (`on_demand`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.media.tracks import AudioSink, Keyframe, KeyframeReceiver, KeyframeRequest, OpusRun
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.receiver import Receiver
from cloudslice.webrtc.video_receiver import FLOWING_S, VideoReceiver

_AUDIO_LINGER_S = 5.0
"""Longer than a change of the lists takes that is made in two calls."""
_VIDEO_LINGER_S = 90.0
"""Longer than the longest interval of pictures, 60 s: between them the track is only switched off,
which needs no negotiation."""
_KEYFRAME_S = 0.5
"""The first packets that come after a video was switched on are a key frame. If none has come after
so long, it is asked for."""

R = TypeVar("R", bound=Receiver)


class LivekitTrack(ABC, Generic[R]):
    """What audio and video have in common.

    Attributes:
        sid: what the server calls it.
        is_muted: whether its sender has muted it.
        is_refused: whether the server has said that it cannot be sent to us.
    """

    def __init__(self, sid: str, clock: Clock, wake: Callable[[], None]) -> None:
        """
        Args:
            wake: called when another subscription is wanted than before.
        """
        self.sid = sid
        self.is_muted = False
        self.is_refused = False
        self.faults = Faults("track of a LiveKit room")
        self._clock = clock
        self._wake = wake
        self._receiver: R | None = None
        self._asked_at = -inf
        """Monotonic second at which somebody last wanted something of it."""

    def bind(self, receiver: R | None) -> None:
        """Have what comes by `receiver` from now on; None: nothing comes."""
        if receiver is self._receiver:
            return
        if self._receiver is not None:
            self._detach(self._receiver)
        self._receiver = receiver
        if receiver is not None:
            self._attach(receiver)

    @abstractmethod
    def is_wanted(self, now: float) -> bool:
        """Whether it is to be subscribed to."""

    @abstractmethod
    def _attach(self, receiver: R) -> None: ...

    @abstractmethod
    def _detach(self, receiver: R) -> None: ...


class LivekitAudioTrack(LivekitTrack[AudioReceiver]):
    """An AudioTrack; an AudioSink of the receiver that it is bound to."""

    def __init__(self, sid: str, clock: Clock, wake: Callable[[], None]) -> None:
        super().__init__(sid, clock, wake)
        self._sinks: tuple[AudioSink, ...] = ()
        self._has_begun = False

    def add_sink(self, sink: AudioSink) -> None:
        self._sinks = (*self._sinks, sink)
        self._wake()

    def remove_sink(self, sink: AudioSink) -> None:
        if self._sinks:
            self._asked_at = self._clock.monotonic()
        self._sinks = tuple(each for each in self._sinks if each is not sink)

    def is_wanted(self, now: float) -> bool:
        if not self._sinks and self.is_muted and self._asked_at > -inf:
            self._asked_at = now
        return bool(self._sinks) or now - self._asked_at < _AUDIO_LINGER_S

    def on_opus(self, run: OpusRun) -> None:
        self._has_begun = True
        self._tell(lambda sink: sink.on_opus(run))

    def on_restart(self) -> None:
        self._tell(lambda sink: sink.on_restart())

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
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
                self.faults.caught(error)


class _Request:
    """A KeyframeRequest of a track, which outlives the receiver that it was passed on to."""

    def __init__(
        self,
        receiver: KeyframeReceiver,
        due: float,
        max_age_s: float,
        withdraw: Callable[["_Request"], None],
    ) -> None:
        self.receiver = receiver
        self.due = due
        self.max_age_s = max_age_s
        self.passed_on: KeyframeRequest | None = None
        self._withdraw = withdraw

    def cancel(self) -> None:
        self._withdraw(self)


class LivekitVideoTrack(LivekitTrack[VideoReceiver]):
    """A VideoTrack."""

    def __init__(
        self, sid: str, clock: Clock, wake: Callable[[], None], *, on_demand: bool
    ) -> None:
        super().__init__(sid, clock, wake)
        self._on_demand = on_demand
        self._open: list[_Request] = []
        self._open_since = -inf
        """Monotonic second since which key frames are asked for without a pause."""

    @property
    def flowing(self) -> bool:
        """See `VideoTrack`. While it is switched off by us: whether it is published."""
        if self.is_refused:
            return False
        if not self._open or self._clock.monotonic() - self._open_since < FLOWING_S:
            return True
        return self._receiver is not None and self._receiver.flowing

    def is_wanted(self, now: float) -> bool:
        return bool(self._open) or now - self._asked_at < _VIDEO_LINGER_S

    @property
    def is_on(self) -> bool:
        """Whether the server is to send, if it is subscribed to."""
        return bool(self._open) or not self._on_demand

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> KeyframeRequest:
        """See `VideoTrack`."""
        now = self._clock.monotonic()
        request = _Request(receiver, due, max_age_s, self._withdraw)
        if not self._open:
            self._open_since = now
        if self._on_demand:
            request.due = max(due, self._open_since + _KEYFRAME_S)
        self._asked_at = now
        self._open.append(request)
        self._wake()
        if self._receiver is not None:
            self._pass_on(request, self._receiver)
        return request

    def _pass_on(self, request: _Request, receiver: VideoReceiver) -> None:
        def fulfil(keyframe: Keyframe) -> None:
            # Fulfilled at once, the request is not known by `passed_on`.
            if request in self._open:
                self._open.remove(request)
                request.receiver(keyframe)

        passed_on = receiver.request_keyframe(fulfil, request.due, max_age_s=request.max_age_s)
        request.passed_on = passed_on if request in self._open else None

    def _withdraw(self, request: _Request) -> None:
        if request in self._open:
            self._open.remove(request)
        if request.passed_on is not None:
            request.passed_on.cancel()
            request.passed_on = None

    def _attach(self, receiver: VideoReceiver) -> None:
        now = self._clock.monotonic()
        for request in list(self._open):
            request.due = max(request.due, now + _KEYFRAME_S)
            self._pass_on(request, receiver)

    def _detach(self, receiver: VideoReceiver) -> None:
        for request in self._open:
            if request.passed_on is not None:
                request.passed_on.cancel()
                request.passed_on = None
