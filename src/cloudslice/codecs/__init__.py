"""What we know of each codec: one file a codec."""
