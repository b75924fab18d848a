"""WebRTC: peer connections, from SDP and datagrams to tracks. Nothing here knows of rooms.

Who owns what, from the wire up:

- `udp.port`: the sockets, and which connection a datagram is for.
- `native`: the streams, each with its order, its statistics and what is missing of it.
- `ice`: the path. `dtls`: the handshake. `srtp`: the keys. `transport`: the three together.
- `negotiation`: what was agreed on. `accepting` and `offering` decide it, `remote_description` and
  `local_description` read and write it, by `sdp`.
- `streams`: which SSRC each receiver has, found by `demultiplexer`.
- `audio_receiver`: who hears the audio. `video_receiver`: the open requests for key frames, paced
  by `keyframe_requests`; `keyframe_assembler` puts the frames together.
- `receiver_reports`: what the peer is told.
- `peer_connection`: joins all of it, and ends it.
"""
