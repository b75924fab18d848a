"""When pictures are due: at moments that some tracks share.

For one picture the process wakes to ask for its key frame, to read it, to bring it to the disk, to
upload it and to tell of it, and finds the caches cold each time. For some at a time it does so but
once.
"""

from collections import Counter

SLOT_S = 0.125
"""Pictures are due at multiples of this on the monotonic clock."""
_SHARING = 4
"""Tracks that share a moment, while there are moments enough: a core makes their PNGs in some 50
ms, so that the last one of them is hardly later for it."""


class PicturePhases:
    """Knows which tracks' pictures are due at the same moments, for all robots of a process."""

    def __init__(self) -> None:
        self._tracks: dict[int, Counter[int]] = {}
        """By interval in seconds, how many tracks each slot of the interval has."""

    def join(self, interval_s: int, now: float) -> float:
        """The monotonic second of a track's second picture, if the first one is due `now`.

        The others follow every `interval_s` seconds. It lies half an interval to a whole one ahead.
        """
        tracks = self._tracks.setdefault(interval_s, Counter())
        slots = round(interval_s / SLOT_S)
        first = int((now + interval_s / 2) // SLOT_S) + 1
        last = int((now + interval_s) // SLOT_S)
        best = max(range(first, last + 1), key=lambda at: (_attraction(tracks[at % slots]), at))
        tracks[best % slots] += 1
        return best * SLOT_S

    def leave(self, interval_s: int, due: float) -> None:
        """A track that has joined takes no more pictures; `due` is when any of them would be."""
        slots = round(interval_s / SLOT_S)
        self._tracks[interval_s][round(due / SLOT_S) % slots] -= 1


def _attraction(tracks: int) -> int:
    """Of a slot that has so many tracks, for one more: begun ones first, then empty ones, then
    those that have the least too many."""
    return tracks if tracks < _SHARING else -tracks
