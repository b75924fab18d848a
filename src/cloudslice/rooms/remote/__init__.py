"""Rooms of other people's servers, where one connection of ours hears for all robots of a room."""
