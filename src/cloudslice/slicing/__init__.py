"""Slicing: from an anchor's packets and key frames to finished slices."""
