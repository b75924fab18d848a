"""Cuts an anchor's Opus into Ogg files that tile its time."""
