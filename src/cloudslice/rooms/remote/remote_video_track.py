"""An anchor's video in a room of another server.

It is wanted when a key frame is asked for. Between two pictures it need not be sent.
"""

from collections.abc import Callable
from functools import partial

from cloudslice.clock import Clock
from cloudslice.media.tracks import (
    Description,
    Keyframe,
    KeyframeReceiver,
    KeyframeRequest,
    NoKeyframeReason,
)
from cloudslice.rooms.remote.layer_choice import LayerChoice
from cloudslice.rooms.remote.remote_track import Caught, Track
from cloudslice.webrtc.video_receiver import FLOWING_S, VideoReceiver

_LINGER_S = 90.0
"""Longer than the longest interval of pictures, 60 s: between them the track is only switched off,
which needs no negotiation."""
_KEYFRAME_S = 0.6
"""The server has a key frame made when it switches a video on. If none has come after so long, it
is asked for: sooner, and the sender would make two."""


class _Request:
    """A KeyframeRequest of a track."""

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
        """The same of the receiver that the track is bound to."""
        self._withdraw = withdraw

    def cancel(self) -> None:
        self._withdraw(self)

    def take_back(self) -> None:
        asked, self.asked = self.asked, None
        if asked is not None:
            asked.cancel()


class RemoteVideoTrack(Track[VideoReceiver]):
    """A VideoTrack.

    Args:
        clock, caught: see `Track`.
        on_demand: whether its media is sent to us only while a picture is wanted.

    Attributes:
        layers: chooses among the key frames of one that has several layers; None of another one.
    """

    _receiver_type = VideoReceiver

    def __init__(self, clock: Clock, caught: Caught, *, on_demand: bool) -> None:
        super().__init__(clock, caught)
        self.layers: LayerChoice | None = None
        self._on_demand = on_demand
        self._open: list[_Request] = []
        self._on_since: float | None = None
        """Monotonic second since which its media is sent to us; None: it is not."""
        self._flowed = True
        """Whether it has sent something when that could last be told. Until then it has: it is
        published."""
        self._is_answered = True
        """Whether the sender makes key frames when it is asked. Else its own ones are waited
        for."""

    @property
    def flowing(self) -> bool:
        """See `VideoTrack`. While it is switched off, as when it was on last."""
        if self.is_refused:
            return False
        if self._on_since is not None:
            has_been_on = self._clock.monotonic() - self._on_since >= FLOWING_S
            flows = self._receiver is not None and self._receiver.flowing
            self._flowed = flows or (self._flowed and not has_been_on)
        return self._flowed

    def request_keyframe(
        self, receiver: KeyframeReceiver, due: float, *, max_age_s: float = 0
    ) -> KeyframeRequest:
        """See `VideoTrack`."""
        request = _Request(receiver, due, max_age_s, self._withdraw)
        self._open.append(request)
        self._ask(request)
        if request in self._open:
            self.on_change()
        return request

    def describe(self, keyframe: Keyframe) -> Description:
        """See `VideoTrack`: which layer it is of, and whether the sender answers requests."""
        told = {} if self._receiver is None else self._receiver.describe(keyframe)
        return told if self.layers is None else {"layer": self.layers.name_of(keyframe), **told}

    def is_wanted(self, now: float) -> bool:
        """See `Track`. One that sends nothing is: this costs nothing, and shows when it begins
        again."""
        is_used = bool(self._open) or now - self._used_until < _LINGER_S
        return not self.is_refused and (is_used or not self.flowing)

    def is_on(self, now: float) -> bool:
        """See `Track`."""
        is_needed = bool(self._open) or not self.flowing or not self._is_answered
        return self.is_wanted(now) and (is_needed or not self._on_demand)

    def switched(self, *, is_on: bool, now: float) -> None:
        """See `Track`."""
        if not is_on:
            self._on_since = None
        elif self._on_since is None:
            self._on_since = now

    def tick(self, now: float) -> None:
        """Do what is due at monotonic second `now`."""
        if self.layers is not None and self._open:
            keyframe = self.layers.choose_due(now)
            if keyframe is not None:
                self._fulfil(keyframe)

    def _attach(self, receiver: VideoReceiver) -> None:
        for request in list(self._open):
            self._ask(request)

    def _detach(self, receiver: VideoReceiver) -> None:
        self._on_since = None
        for request in self._open:
            request.take_back()

    def _ask(self, request: _Request) -> None:
        if self._receiver is None:
            return
        on_since = self._clock.monotonic() if self._on_since is None else self._on_since
        due = max(request.due, on_since + _KEYFRAME_S)
        take = partial(self._take, request)
        request.asked = None
        asked = self._receiver.request_keyframe(take, due, max_age_s=request.max_age_s)
        if request.asked is None:  # else one that was kept came at once, and is too small
            request.asked = asked

    def _take(self, request: _Request, keyframe: Keyframe) -> None:
        if request not in self._open:
            return
        now = self._clock.monotonic()
        chosen = keyframe if self.layers is None else self.layers.choose(keyframe, now)
        if chosen is None:
            request.due, request.max_age_s = now + _KEYFRAME_S, 0
            self._ask(request)
        else:
            self._fulfil(chosen)

    def _fulfil(self, keyframe: Keyframe) -> None:
        """All that are open share it."""
        self._flowed = True
        requests = list(self._open)
        for request in requests:
            self._close(request)
        for request in requests:
            try:
                request.receiver(keyframe)
            except Exception as error:
                self._caught(error)
        self.on_change()

    def _withdraw(self, request: _Request) -> None:
        if request in self._open:
            self._close(request)
            if self.layers is not None and not self._open:
                self.layers.forget()
            self.on_change()

    def _close(self, request: _Request) -> None:
        self._open.remove(request)
        self._used_until = self._clock.monotonic()
        if self._receiver is not None:
            self._is_answered = self._receiver.no_keyframe_reason not in (
                NoKeyframeReason.NO_ANSWER,
                NoKeyframeReason.INTRA_REFRESH,
            )
        request.take_back()
