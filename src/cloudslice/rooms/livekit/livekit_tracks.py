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
from cloudslice.media.tracks import AudioSink, Keyframe, KeyframeReceiver, KeyframeRequest, OpusRun
from cloudslice.rooms.livekit.livekit_layers import LayerChoice
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

Caught = Callable[[Exception], None]
R = TypeVar("R", bound=Receiver)


class LivekitTrack(ABC, Generic[R]):
    """What audio and video have in common.

    Attributes:
        sid: what the server calls it.
        is_muted: whether its sender has muted it.
        is_refused: whether the server has said that it cannot be sent to us.
    """

    def __init__(self, sid: str, clock: Clock, wake: Callable[[], None], caught: Caught) -> None:
        """
        Args:
            wake: called when another subscription is wanted than before.
            caught: is told what those raise who hear or see it.
        """
        self.sid = sid
        self.is_muted = False
        self.is_refused = False
        self._clock = clock
        self._wake = wake
        self._caught = caught
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

    def __init__(self, sid: str, clock: Clock, wake: Callable[[], None], caught: Caught) -> None:
        super().__init__(sid, clock, wake, caught)
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
                self._caught(error)


class _Request:
    """A KeyframeRequest of a track."""

    def __init__(self, receiver: KeyframeReceiver, withdraw: Callable[["_Request"], None]) -> None:
        self.receiver = receiver
        self._withdraw = withdraw

    def cancel(self) -> None:
        self._withdraw(self)


class LivekitVideoTrack(LivekitTrack[VideoReceiver]):
    """A VideoTrack.

    Attributes:
        layers: chooses among the key frames of one that has several layers; None of another one.
    """

    def __init__(
        self,
        sid: str,
        clock: Clock,
        wake: Callable[[], None],
        caught: Caught,
        *,
        on_demand: bool,
    ) -> None:
        super().__init__(sid, clock, wake, caught)
        self.layers: LayerChoice | None = None
        self._on_demand = on_demand
        self._open: list[_Request] = []
        self._open_since = -inf
        """Monotonic second since which key frames are asked for without a pause."""
        self._asked: KeyframeRequest | None = None
        """The receiver, for all that are open."""

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
        request = _Request(receiver, self._withdraw)
        if not self._open:
            self._open_since = now
        if self._on_demand:
            due = max(due, self._open_since + _KEYFRAME_S)
        self._asked_at = now
        self._open.append(request)
        self._wake()
        if self._asked is None:  # else it shares the key frame that is on its way
            self._ask(due, max_age_s)
        return request

    def tick(self, now: float) -> None:
        """Do what is due at monotonic second `now`."""
        if self.layers is not None and self._open:
            keyframe = self.layers.choose_due(now)
            if keyframe is not None:
                self._fulfil(keyframe)

    def _ask(self, due: float, max_age_s: float = 0) -> None:
        self._take_back()
        if self._receiver is not None and self._open:
            asked = self._receiver.request_keyframe(self._on_keyframe, due, max_age_s=max_age_s)
            # One that was kept comes before the call returns.
            self._asked = asked if self._open and self._asked is None else self._asked

    def _on_keyframe(self, keyframe: Keyframe) -> None:
        self._asked = None
        now = self._clock.monotonic()
        chosen = keyframe if self.layers is None else self.layers.choose(keyframe, now)
        if chosen is None:
            self._ask(now + _KEYFRAME_S)
        else:
            self._fulfil(chosen)

    def _fulfil(self, keyframe: Keyframe) -> None:
        self._take_back()
        requests, self._open = self._open, []
        for request in requests:
            try:
                request.receiver(keyframe)
            except Exception as error:
                self._caught(error)

    def _withdraw(self, request: _Request) -> None:
        if request in self._open:
            self._open.remove(request)
            if not self._open:
                self._take_back()
                if self.layers is not None:
                    self.layers.forget()

    def _take_back(self) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def _attach(self, receiver: VideoReceiver) -> None:
        self._ask(self._clock.monotonic() + _KEYFRAME_S)

    def _detach(self, receiver: VideoReceiver) -> None:
        self._take_back()
