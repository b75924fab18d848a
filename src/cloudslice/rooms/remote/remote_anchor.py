"""A member of a room on another server who sends media."""

from cloudslice.media.tracks import AudioTrack, VideoTrack
from cloudslice.rooms.remote.room_server import Tracks


class RemoteAnchor:
    """A member that sends media. It stays the same while it is in the room, also when the
    connection is made anew."""

    def __init__(self, user_id: str, tracks: Tracks) -> None:
        self._user_id = user_id
        self.tracks = tracks

    @property
    def user_id(self) -> str:
        return self._user_id

    @property
    def identity(self) -> str:
        return self.tracks.identity

    @property
    def audio(self) -> AudioTrack | None:
        return self.tracks.audio

    @property
    def video(self) -> VideoTrack | None:
        return self.tracks.video

    @property
    def aux(self) -> VideoTrack | None:
        return self.tracks.aux
