"""An anchor's tracks in a room of another server: nothing is sent to us that nobody has asked for.

A track is the same while its stream is published, also when the connection is made anew: so a slice
goes on. A visit binds it to the receiver that its media comes by, and asks it what it wants.
"""

from cloudslice.rooms.remote.remote_audio_track import RemoteAudioTrack
from cloudslice.rooms.remote.remote_video_track import RemoteVideoTrack

RemoteTrack = RemoteAudioTrack | RemoteVideoTrack
