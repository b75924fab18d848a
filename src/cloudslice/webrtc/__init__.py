"""WebRTC: peer connections, from SDP and datagrams to tracks. Nothing here knows of rooms."""
