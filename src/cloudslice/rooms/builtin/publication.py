"""One anchor's stay in a builtin room."""

from collections.abc import Callable, Iterator

from cloudslice.config import RtcSettings
from cloudslice.ids import RoomKey, TrackKind
from cloudslice.media.tracks import AudioTrack, VideoTrack
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.connection_user import CloseReason, ConnectionOptions
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.receiver import Receiver
from cloudslice.webrtc.video_receiver import VideoReceiver


def connection_options(settings: RtcSettings) -> ConnectionOptions:
    """How the connections of anchors behave, who send a microphone, a camera and a screen share."""
    return ConnectionOptions(
        ReceivePolicy(
            {"audio": 1, "video": 2},
            max_video_bitrate_kbps=settings.max_video_bitrate_kbps,
            preferred_codecs=settings.preferred_video_codecs,
        ),
        consent_timeout_s=settings.consent_timeout_s,
    )


class Publication:
    """An anchor, from its WHIP request to its end.

    Args:
        publication_id: names it in its WHIP session's URL.
        room, user_id: where it is, and who.
        connect: makes the connection, of which this is the user.
        on_connected, on_closed: called once each.
    """

    def __init__(
        self,
        publication_id: str,
        room: RoomKey,
        user_id: str,
        *,
        connect: Callable[["Publication"], PeerConnection],
        on_connected: Callable[["Publication"], None],
        on_closed: Callable[["Publication", CloseReason, str], None],
    ) -> None:
        self.publication_id = publication_id
        self.room = room
        self.user_id = user_id
        self.identity = ""
        self._on_connected = on_connected
        self._on_closed = on_closed
        self.connection = connect(self)

    def on_connected(self) -> None:
        """See `ConnectionUser`."""
        self._on_connected(self)

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        """See `ConnectionUser`."""
        self._on_closed(self, reason, failure)

    @property
    def tracks(self) -> Iterator[tuple[TrackKind, Receiver]]:
        """What it sends: the first audio, the first video, and a second video as a screen share."""
        videos = iter((TrackKind.VIDEO, TrackKind.AUX))
        for receiver in self.connection.streams.receivers.values():
            if isinstance(receiver, AudioReceiver):
                yield TrackKind.AUDIO, receiver
            elif isinstance(receiver, VideoReceiver) and (kind := next(videos, None)):
                yield kind, receiver

    @property
    def audio(self) -> AudioTrack | None:
        return next((each for _, each in self.tracks if isinstance(each, AudioReceiver)), None)

    @property
    def video(self) -> VideoTrack | None:
        return self._video(TrackKind.VIDEO)

    @property
    def aux(self) -> VideoTrack | None:
        return self._video(TrackKind.AUX)

    def _video(self, kind: TrackKind) -> VideoTrack | None:
        for each, receiver in self.tracks:
            if each is kind and isinstance(receiver, VideoReceiver):
                return receiver
        return None
