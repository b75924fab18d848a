"""What a LiveKit server is told of the tracks that somebody wants."""

from collections.abc import Callable, Collection, Iterable

from livekit.protocol import models, rtc

from cloudslice.rooms.livekit.livekit_tracks import (
    LivekitAudioTrack,
    LivekitVideoTrack,
)

AnyTrack = LivekitAudioTrack | LivekitVideoTrack


class Subscriptions:
    """What the server was told, and is to be told.

    Args:
        send: sends a message.
    """

    def __init__(self, send: Callable[[rtc.SignalRequest], None]) -> None:
        self._send = send
        self._subscribed: set[str] = set()
        self._settings: dict[str, bool] = {}
        """By track, whether the server was told to send a video."""

    def forget(self) -> None:
        """The server is to be told all of it again."""
        self._subscribed.clear()
        self._settings.clear()

    def update(self, tracks: Collection[AnyTrack], now: float) -> None:
        """Tell the server what has changed by monotonic second `now`."""
        known = {each.sid for each in tracks}
        self._subscribed &= known
        self._settings = {sid: on for sid, on in self._settings.items() if sid in known}
        wanted = {each.sid for each in tracks if not each.is_refused and each.is_wanted(now)}
        self._subscribe(wanted - self._subscribed, subscribe=True)
        self._subscribe(self._subscribed - wanted, subscribe=False)
        self._subscribed = wanted
        self._switch(each for each in tracks if isinstance(each, LivekitVideoTrack))

    def _subscribe(self, sids: set[str], *, subscribe: bool) -> None:
        if sids:
            request = rtc.UpdateSubscription(track_sids=sorted(sids), subscribe=subscribe)
            self._send(rtc.SignalRequest(subscription=request))

    def _switch(self, tracks: Iterable[LivekitVideoTrack]) -> None:
        changed: dict[bool, list[str]] = {True: [], False: []}
        for track in tracks:
            if track.sid not in self._subscribed:
                self._settings.pop(track.sid, None)
            elif self._settings.get(track.sid) is not track.is_on:
                self._settings[track.sid] = track.is_on
                changed[track.is_on].append(track.sid)
        for is_on, sids in changed.items():
            if sids:
                settings = rtc.UpdateTrackSettings(
                    track_sids=sids, disabled=not is_on, quality=models.VideoQuality.HIGH
                )
                self._send(rtc.SignalRequest(track_setting=settings))
