"""A WebRTC publisher: loops a media file or a synthetic picture and tone into a room."""
