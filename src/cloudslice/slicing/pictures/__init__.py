"""Pictures of key frames: when they are due, taking them, decoding, colours, files."""
