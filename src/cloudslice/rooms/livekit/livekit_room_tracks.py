"""The tracks of one LiveKit room while robots are in it, by as many visits as it takes."""

from collections.abc import Callable, Mapping
from functools import partial

import structlog
from livekit.protocol import models

from cloudslice.clock import Clock
from cloudslice.rooms.livekit.encrypted_tracks import EncryptedAudioTrack, EncryptedVideoTrack
from cloudslice.rooms.livekit.frame_decryption import FrameKey, TrackDecryption
from cloudslice.rooms.livekit.livekit_members import Published, PublishedTracks
from cloudslice.rooms.remote.layer_choice import LayerChoice
from cloudslice.rooms.remote.remote_audio_track import RemoteAudioTrack
from cloudslice.rooms.remote.remote_track import Caught, ignore_change
from cloudslice.rooms.remote.remote_tracks import RemoteTrack
from cloudslice.rooms.remote.remote_video_track import RemoteVideoTrack
from cloudslice.rooms.remote.room_server import Tracks
from cloudslice.webrtc.receiver import Receiver

_log = structlog.get_logger(__name__)


class RoomTracks:
    """See the module.

    Attributes:
        wake: called when a track wants something else than before: the visit's.
        server_trailer: what frames of encrypted tracks end with that the server makes itself.
        not_decrypted: encrypted packets of audio, and key frames, that the key did not open.

    Args:
        on_demand: whether videos are sent to us only when a picture is due.
        key: what members encrypt with from end to end; None: that is not known.
        clock: for times.
        caught: is told what those raise who hear or see a track.
        log_fields: the room's, in each line of the log.
    """

    def __init__(
        self,
        clock: Clock,
        caught: Caught,
        log_fields: Mapping[str, object],
        *,
        on_demand: bool,
        key: FrameKey | None = None,
    ) -> None:
        self.wake: Callable[[], None] = ignore_change
        self.server_trailer = b""
        self.not_decrypted = 0
        self._caught = caught
        self._log_fields = log_fields
        self._clock = clock
        self._on_demand = on_demand
        self._key = key
        self._audio: dict[str, RemoteAudioTrack] = {}
        self._video: dict[str, RemoteVideoTrack] = {}
        self._published: Mapping[str, PublishedTracks] = {}
        self._told: set[str] = set()
        """Tracks that are left out, of which the log says so."""

    @property
    def all(self) -> Mapping[str, RemoteTrack]:
        """Those that are published now, by what the server calls them."""
        return {**self._audio, **self._video}

    def update(self, published: Mapping[str, PublishedTracks]) -> dict[str, Tracks]:
        """What is published is this now: by the same names, what can be heard and seen of it."""
        sids = {each.sid for tracks in published.values() for each in tracks}
        self._audio = {sid: each for sid, each in self._audio.items() if sid in sids}
        self._video = {sid: each for sid, each in self._video.items() if sid in sids}
        self._told &= sids
        self._published = published
        return {
            identity: Tracks(
                self._audio_of(identity, tracks.audio),
                self._video_of(identity, tracks.video),
                self._video_of(identity, tracks.aux),
            )
            for identity, tracks in published.items()
        }

    def tick(self, now: float) -> None:
        """Do what is due at monotonic second `now`."""
        for each in self._video.values():
            each.tick(now)

    def bind(self, carried: Mapping[str, Receiver]) -> None:
        """These tracks come by these receivers, and no others."""
        for sid, track in self.all.items():
            track.bind(carried.get(sid))

    def refuse(self, sid: str, reason: str) -> None:
        """The server cannot send us this track."""
        track = self._audio.get(sid) or self._video.get(sid)
        if track is None or track.is_refused:
            return
        track.is_refused = True
        for identity, tracks in self._published.items():
            for each in tracks:
                if each.sid == sid:
                    _log.warning(
                        "the LiveKit server cannot send a track in a codec that we take",
                        identity=identity,
                        mime_type=each.mime_type,
                        reason=reason,
                        **self._log_fields,
                    )

    def _audio_of(self, identity: str, published: Published | None) -> RemoteAudioTrack | None:
        if published is None or self._is_left_out(identity, published):
            return None
        track = self._audio.get(published.sid)
        if track is None:
            track = self._make_audio(identity, published)
            track.on_change = self._wake
            self._audio[published.sid] = track
        track.is_muted = published.is_muted
        return None if track.is_muted or track.is_refused else track

    def _video_of(self, identity: str, published: Published | None) -> RemoteVideoTrack | None:
        if published is None or self._is_left_out(identity, published):
            return None
        track = self._video.get(published.sid)
        if track is None:
            track = self._make_video(identity, published)
            track.on_change = self._wake
            self._video[published.sid] = track
            if published.layered_size is not None:
                track.layers = LayerChoice(*published.layered_size, self._clock.monotonic())
        track.is_muted = published.is_muted
        return None if track.is_muted or track.is_refused else track

    def _make_audio(self, identity: str, published: Published) -> RemoteAudioTrack:
        decryption = self._decryption_of(identity, published)
        if decryption is None:
            return RemoteAudioTrack(self._clock, self._caught)
        return EncryptedAudioTrack(self._clock, self._caught, decryption)

    def _make_video(self, identity: str, published: Published) -> RemoteVideoTrack:
        decryption = self._decryption_of(identity, published)
        if decryption is None:
            return RemoteVideoTrack(self._clock, self._caught, on_demand=self._on_demand)
        return EncryptedVideoTrack(self._clock, self._caught, decryption, on_demand=self._on_demand)

    def _decryption_of(self, identity: str, published: Published) -> TrackDecryption | None:
        """None of a track that is not encrypted."""
        if self._key is None or published.encryption == models.Encryption.Type.NONE:
            return None
        tell = partial(self._tell_decryption, identity, published.sid)
        return TrackDecryption(
            self._key, lambda: self.server_trailer, self._count_not_decrypted, tell
        )

    def _count_not_decrypted(self) -> None:
        self.not_decrypted += 1

    def _tell_decryption(self, identity: str, sid: str, succeeds: bool) -> None:
        fields = {"identity": identity, "track": sid, **self._log_fields}
        if succeeds:
            _log.info("an encrypted track can be decrypted again", **fields)
        else:
            _log.warning(
                "an encrypted track cannot be decrypted: its sender has another key than e2ee_key",
                **fields,
            )

    def _is_left_out(self, identity: str, published: Published) -> bool:
        """Whether a track is encrypted so that we cannot decrypt it; the log says so once."""
        if published.encryption == models.Encryption.Type.NONE:
            return False
        is_known = published.encryption == models.Encryption.Type.GCM
        if is_known and self._key is not None:
            return False
        if published.sid not in self._told:
            self._told.add(published.sid)
            _log.warning(
                "a track is encrypted from end to end, and is left out",
                reason="the settings have no e2ee_key" if is_known else "its encryption is custom",
                identity=identity,
                track=published.sid,
                **self._log_fields,
            )
        return True

    def _wake(self) -> None:
        self.wake()
