"""An anchor's tracks in a Janus room: subscribed to while somebody wants something of them.

A track lives as long as its stream is published. What it is received by comes and goes:
`Subscription` binds it to the receiver of its media section, and asks it what it wants.
"""

from collections.abc import Callable
from functools import partial
from math import inf

from cloudslice.clock import Clock
from cloudslice.faults import Faults
from cloudslice.media.tracks import (
    AudioSink,
    Keyframe,
    KeyframeReceiver,
    KeyframeRequest,
    NoKeyframeReason,
)
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.receiver import Receiver
from cloudslice.webrtc.video_receiver import FLOWING_S, VideoReceiver

_AUDIO_IDLE_S = 5.0
_VIDEO_IDLE_S = 90.0
"""Longer than the longest interval of pictures. A video that is switched off costs nothing."""
_ANSWER_S = 0.6
"""Janus asks the publisher for a key frame when it switches a video on. We ask again if none has
come by then: sooner, and the publisher would make two."""


def _ignore() -> None:
    pass


class JanusAudioTrack:
    """An AudioTrack.

    Attributes:
        on_change: called when it wants something else than before.
    """

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self.on_change: Callable[[], None] = _ignore
        self._clock = clock
        self._faults = faults
        self._sinks: tuple[AudioSink, ...] = ()
        self._receiver: AudioReceiver | None = None
        self._has_been_bound = False
        self._used_until = -inf

    def add_sink(self, sink: AudioSink) -> None:
        """See `AudioTrack`."""
        self._sinks = (*self._sinks, sink)
        if self._receiver is not None:
            self._receiver.add_sink(sink)
        self.on_change()

    def remove_sink(self, sink: AudioSink) -> None:
        """See `AudioTrack`."""
        self._sinks = tuple(each for each in self._sinks if each is not sink)
        self._used_until = self._clock.monotonic()
        if self._receiver is not None:
            self._receiver.remove_sink(sink)

    def is_wanted(self, now: float) -> bool:
        """Whether it is to be subscribed to."""
        return bool(self._sinks) or now - self._used_until < _AUDIO_IDLE_S

    def is_wanted_on(self, _now: float) -> bool:
        """Whether its media is to be sent to us."""
        return True

    def switched(self, *, is_on: bool, now: float) -> None:
        """Whether Janus sends its media to us, from now on."""

    def bind(self, receiver: Receiver) -> None:
        """Its media comes there from now on."""
        self.unbind()
        if not isinstance(receiver, AudioReceiver):
            return
        self._receiver = receiver
        for sink in self._sinks:
            if self._has_been_bound:
                try:
                    sink.on_restart()
                except Exception as error:
                    self._faults.caught(error)
            receiver.add_sink(sink)
        self._has_been_bound = True

    def is_bound_to(self, receiver: Receiver) -> bool:
        """Whether its media comes there."""
        return self._receiver is receiver

    def unbind(self) -> None:
        """Its media comes from nowhere; harmless when it did not."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            for sink in self._sinks:
                receiver.remove_sink(sink)


class _Request:
    """A KeyframeRequest of a JanusVideoTrack."""

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
        self.asked: KeyframeRequest | None = None
        """The same of the receiver that it is bound to."""
        self._withdraw = withdraw

    def cancel(self) -> None:
        self._withdraw(self)


class JanusVideoTrack:
    """A VideoTrack.

    Args:
        clock: for what flows.
        on_demand: whether its media is sent to us only while a picture is wanted.

    Attributes:
        on_change: called when it wants something else than before.
    """

    def __init__(self, clock: Clock, *, on_demand: bool) -> None:
        self.on_change: Callable[[], None] = _ignore
        self._clock = clock
        self._on_demand = on_demand
        self._open: list[_Request] = []
        self._receiver: VideoReceiver | None = None
        self._on_since: float | None = None
        """Monotonic second since which its media is sent to us; None: it is not."""
        self._flowed = True
        """Whether it has sent something when that could last be told. Until then it has: it is
        published."""
        self._is_answered = True
        """Whether the sender makes key frames when it is asked. Else its own ones are waited
        for."""
        self._used_until = -inf

    @property
    def flowing(self) -> bool:
        """See `VideoTrack`. While it is switched off, as when it was on last."""
        receiver = self._receiver
        if receiver is not None and self._on_since is not None:
            has_been_on = self._clock.monotonic() - self._on_since >= FLOWING_S
            self._flowed = receiver.flowing or (self._flowed and not has_been_on)
        return self._flowed

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> _Request:
        """See `VideoTrack`."""
        request = _Request(receiver, due, max_age_s, self._withdraw)
        self._open.append(request)
        self._ask(request)
        if request in self._open:
            self.on_change()
        return request

    def is_wanted(self, now: float) -> bool:
        """Whether it is to be subscribed to. One that sends nothing is: this costs nothing, and
        shows when it begins again."""
        is_used = bool(self._open) or now - self._used_until < _VIDEO_IDLE_S
        return is_used or not self.flowing

    def is_wanted_on(self, now: float) -> bool:
        """Whether its media is to be sent to us."""
        is_needed = bool(self._open) or not self.flowing or not self._is_answered
        return self.is_wanted(now) and (is_needed or not self._on_demand)

    def switched(self, *, is_on: bool, now: float) -> None:
        """Whether Janus sends its media to us, from now on."""
        if not is_on:
            self._on_since = None
        elif self._on_since is None:
            self._on_since = now

    def bind(self, receiver: Receiver) -> None:
        """Its media comes there from now on."""
        self.unbind()
        if isinstance(receiver, VideoReceiver):
            self._receiver = receiver
            for request in list(self._open):
                self._ask(request)

    def is_bound_to(self, receiver: Receiver) -> bool:
        """Whether its media comes there."""
        return self._receiver is receiver

    def unbind(self) -> None:
        """Its media comes from nowhere; harmless when it did not."""
        self._receiver, self._on_since = None, None
        for request in self._open:
            if request.asked is not None:
                request.asked.cancel()
                request.asked = None

    def _ask(self, request: _Request) -> None:
        if self._receiver is None:
            return
        due = request.due
        if self._on_since is None:
            due = max(due, self._clock.monotonic()) + _ANSWER_S
        request.asked = self._receiver.request_keyframe(
            partial(self._fulfil, request), due, max_age_s=request.max_age_s
        )

    def _fulfil(self, request: _Request, keyframe: Keyframe) -> None:
        if request not in self._open:
            return
        self._close(request)
        self._flowed = True
        request.receiver(keyframe)
        self.on_change()

    def _withdraw(self, request: _Request) -> None:
        if request in self._open:
            self._close(request)
            if request.asked is not None:
                request.asked.cancel()
            self.on_change()

    def _close(self, request: _Request) -> None:
        self._open.remove(request)
        self._used_until = self._clock.monotonic()
        if self._receiver is not None:
            self._is_answered = self._receiver.no_keyframe_reason not in (
                NoKeyframeReason.NO_ANSWER,
                NoKeyframeReason.INTRA_REFRESH,
            )


JanusTrack = JanusAudioTrack | JanusVideoTrack
