"""Which path to send on, of those that the peer proved to be its own.

1. Authentic media from a path moves to it at once: SRTP proves who sends it. A peer behind a NAT
   that gave it a new port is followed, though it may not nominate the new path (Pion does not).
2. A nomination (USE-CANDIDATE) moves to its path, the last one counts; but not while media comes on
   another path. A peer that nominates several paths shows by its media which one it took.
3. A check that does not nominate moves to its path if there is none yet, or if nothing authentic
   came on the present path for longer than a living peer is silent: a browser checks several paths
   while its media takes one.
4. After an ICE restart the first nomination counts even while media comes on the former path.

The controlling side does not follow media: it nominates, and rules 2 to 4 hold for its own
nominations and the checks that were answered.
"""

import math

from cloudslice.webrtc.udp.paths import Path

MEDIA_FRESH_S = 2.0
"""Media came as late as this: the path is in use. Longer than the pauses of Opus's discontinuous
transmission (0.4 s) and of a key frame that is waited for."""
SILENCE_S = 7.0
"""Longer than the 6 s between two checks of consent (RFC 7675, 5.1)."""


class PathChoice:
    """The path in use. `now` is the monotonic second."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self._alive_at = -math.inf
        self._media_at = -math.inf
        self._is_restarted = False

    def heard(self, path: Path, now: float) -> None:
        """Authentic media came on `path`, and the peer decides."""
        self.path = path
        self._alive_at = self._media_at = now

    def confirmed(self, path: Path, now: float) -> None:
        """Something authentic came on `path`, which by itself moves nothing."""
        if path == self.path:
            self._alive_at = now

    def checked(self, path: Path, now: float) -> None:
        """A valid check or answer came on `path`."""
        if self.path is None or path == self.path or now - self._alive_at > SILENCE_S:
            self._take(path, now)

    def nominated(self, path: Path, now: float) -> None:
        """`path` was nominated."""
        if self._is_restarted or path == self.path or now - self._media_at > MEDIA_FRESH_S:
            self._take(path, now)
            self._is_restarted = False

    def restart(self) -> None:
        """The next nomination counts in any case."""
        self._is_restarted = True

    def clear(self) -> None:
        """There is no path any more."""
        self.path = None
        self._alive_at = self._media_at = -math.inf

    def _take(self, path: Path, now: float) -> None:
        if path != self.path:
            self._media_at = -math.inf
        self.path = path
        self._alive_at = now
