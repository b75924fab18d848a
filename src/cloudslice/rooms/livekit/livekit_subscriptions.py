"""What a LiveKit server is told of the tracks that somebody wants."""

from collections.abc import Callable, Mapping

from livekit.protocol import models, rtc

from cloudslice.rooms.remote.remote_tracks import RemoteTrack
from cloudslice.rooms.remote.remote_video_track import RemoteVideoTrack


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

    def update(self, tracks: Mapping[str, RemoteTrack], now: float) -> None:
        """Tell the server what has changed.

        Args:
            tracks: by what the server calls them.
            now: monotonic second.
        """
        self._subscribed &= tracks.keys()
        self._settings = {sid: on for sid, on in self._settings.items() if sid in tracks}
        wanted = {sid for sid, track in tracks.items() if track.is_wanted(now)}
        self._subscribe(wanted - self._subscribed, subscribe=True)
        self._subscribe(self._subscribed - wanted, subscribe=False)
        self._subscribed = wanted
        videos = {sid: each for sid, each in tracks.items() if isinstance(each, RemoteVideoTrack)}
        self._switch(videos, now)

    def _subscribe(self, sids: set[str], *, subscribe: bool) -> None:
        if sids:
            request = rtc.UpdateSubscription(track_sids=sorted(sids), subscribe=subscribe)
            self._send(rtc.SignalRequest(subscription=request))

    def _switch(self, tracks: Mapping[str, RemoteVideoTrack], now: float) -> None:
        changed: dict[bool, list[str]] = {True: [], False: []}
        for sid, track in tracks.items():
            is_on = track.is_on(now)
            if sid not in self._subscribed:
                self._settings.pop(sid, None)
            elif self._settings.get(sid) is not is_on:
                self._settings[sid] = is_on
                changed[is_on].append(sid)
            track.switched(is_on=is_on, now=now)
        for is_on, sids in changed.items():
            if sids:
                settings = rtc.UpdateTrackSettings(
                    track_sids=sids, disabled=not is_on, quality=models.VideoQuality.HIGH
                )
                self._send(rtc.SignalRequest(track_setting=settings))
