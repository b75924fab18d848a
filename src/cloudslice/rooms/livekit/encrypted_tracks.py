"""Tracks of a LiveKit room that are encrypted from end to end: they are opened as they come."""

from cloudslice.clock import Clock
from cloudslice.media.tracks import OpusRun
from cloudslice.rooms.livekit.frame_decryption import TrackDecryption
from cloudslice.rooms.remote.remote_audio_track import RemoteAudioTrack
from cloudslice.rooms.remote.remote_track import Caught
from cloudslice.rooms.remote.remote_video_track import RemoteVideoTrack
from cloudslice.webrtc.video_receiver import VideoReceiver


class EncryptedAudioTrack(RemoteAudioTrack):
    """A packet that cannot be opened is a gap.

    Args:
        clock, caught: see `RemoteAudioTrack`.
        decryption: opens packets.
    """

    def __init__(self, clock: Clock, caught: Caught, decryption: TrackDecryption) -> None:
        super().__init__(clock, caught)
        self._decryption = decryption

    def on_opus(self, run: OpusRun) -> None:
        """See `AudioSink`."""
        for opened in self._decryption.open_run(run):
            super().on_opus(opened)


class EncryptedVideoTrack(RemoteVideoTrack):
    """A key frame that cannot be opened never comes.

    Args:
        clock, caught, on_demand: see `RemoteVideoTrack`.
        decryption: opens key frames.
    """

    def __init__(
        self, clock: Clock, caught: Caught, decryption: TrackDecryption, *, on_demand: bool
    ) -> None:
        super().__init__(clock, caught, on_demand=on_demand)
        self._decryption = decryption

    def _attach(self, receiver: VideoReceiver) -> None:
        receiver.open_frames_by(self._decryption.open_keyframe)
        super()._attach(receiver)

    def _detach(self, receiver: VideoReceiver) -> None:
        super()._detach(receiver)
        receiver.open_frames_by(None)
