"""How loud a slice is, by what its sender says (RFC 6464); nothing is decoded."""

from math import log10

from cloudslice.codecs.opus import SAMPLE_RATE
from cloudslice.media.tracks import Levels

_SILENCE = 127
"""The level of digital silence, in -dBov."""


class Loudness:
    """Sums up the levels of packets."""

    __slots__ = ("_energy", "_peak", "_samples", "_voiced")

    def __init__(self) -> None:
        self._samples = 0
        """Those of packets whose level was told..."""
        self._voiced = 0
        """...and of those that were said to be voice."""
        self._energy = 0.0
        """Of the former: the sum of their squares, as a part of the loudest that there is."""
        self._peak = _SILENCE

    def add(self, levels: Levels, samples: int) -> None:
        """Packets of `samples` each."""
        self._samples += levels.packets * samples
        self._voiced += levels.voiced * samples
        self._energy += levels.energy * samples
        self._peak = min(self._peak, levels.peak)

    def details(self) -> dict[str, int]:
        """Mean and peak, in dBov, and milliseconds of voice; nothing where no level was told."""
        if not self._samples:
            return {}
        return {
            "mean-dbov": round(10 * log10(self._energy / self._samples)),
            "peak-dbov": -self._peak,
            "voice-ms": round(self._voiced * 1000 / SAMPLE_RATE),
        }
