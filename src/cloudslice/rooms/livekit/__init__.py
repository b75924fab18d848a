"""Rooms of a LiveKit server, which a robot enters as a hidden member."""
