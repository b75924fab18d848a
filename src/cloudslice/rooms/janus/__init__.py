"""Rooms of a Janus gateway's VideoRoom plugin."""
