"""WebRTC for somebody who receives: one peer connection to a transport, its media sections as
tracks."""
