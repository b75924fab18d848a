"""Rooms: where anchors send media and robots receive it."""
