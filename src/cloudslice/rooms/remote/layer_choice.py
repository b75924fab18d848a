"""Which key frame of a video of several layers becomes the picture.

A LiveKit server that begins to send sends whichever layer has a key frame first, and goes up to the
highest one when that has one. So a key frame that is smaller than it might be waits for a larger
one, for as long as that takes as a rule.
"""

from cloudslice.codecs.catalog import CATALOG
from cloudslice.media.tracks import Keyframe

_WAIT_S = 0.5
_FADES_S = 60.0
"""A size that was not seen for so long is not to be expected any more: the sender has too little
bandwidth or CPU for it."""


class LayerChoice:
    """Of one track.

    Args:
        width, height: of the highest layer, in pixels, as the sender has announced it.
        now: monotonic second.
    """

    def __init__(self, width: int, height: int, now: float) -> None:
        self._best, self._best_at = width * height, now
        """The most pixels that were announced or seen lately, and when."""
        self._small: Keyframe | None = None
        """What waits for a larger one."""

    def choose(self, keyframe: Keyframe, now: float) -> Keyframe | None:
        """The key frame to use after this one has come; None if a larger one is waited for."""
        size = CATALOG.coded_size(keyframe)
        pixels = self._best if size is None else size[0] * size[1]
        if pixels >= self._best or now - self._best_at > _FADES_S:
            self._best, self._best_at, self._small = pixels, now, None
            return keyframe
        self._small = keyframe
        return self.choose_due(now)

    def choose_due(self, now: float) -> Keyframe | None:
        """The key frame to use at monotonic second `now` though a larger one was waited for."""
        if self._small is None or now - self._small.arrival < _WAIT_S:
            return None
        keyframe, self._small = self._small, None
        return keyframe

    def name_of(self, keyframe: Keyframe) -> str:
        """Which layer it is of, as far as can be told: `highest` or `lower`."""
        size = CATALOG.coded_size(keyframe)
        return "lower" if size is not None and size[0] * size[1] < self._best else "highest"

    def forget(self) -> None:
        """What waits is not wanted any more."""
        self._small = None
