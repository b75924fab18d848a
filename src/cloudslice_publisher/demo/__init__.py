"""The demo: the main job end to end, on an empty machine."""
