"""Remembers the packets that a decoder has to hear before a slice begins."""

from collections import deque
from collections.abc import Sequence

from cloudslice.codecs.opus import MAX_PACKET_SAMPLES, silence

PRE_ROLL = 15_360
"""Samples in front of a cut, 320 ms. With the 80 ms that RFC 7845 section 4.6 suggests, the first
20 ms of a CELT slice differed from the whole stream by up to 1251 of 32768; with this by nothing.
"""

_KEPT = PRE_ROLL + MAX_PACKET_SAMPLES
"""Samples that are kept: a packet that straddles a cut may end up to 120 ms behind it."""


class PreRoll:
    """The packets that came last, as many as a slice that begins with or in the last one needs."""

    __slots__ = ("_packets", "_samples")

    def __init__(self) -> None:
        self._packets: deque[tuple[bytes, Sequence[int], int]] = deque()
        """Some joined, the bytes of each and the samples of each."""
        self._samples = 0

    def add(self, data: bytes, sizes: Sequence[int], samples: int) -> None:
        """Packets of `samples` each came, joined in `data`."""
        self._packets.append((data, sizes, samples))
        self._samples += len(sizes) * samples
        while True:
            _data, first_sizes, first_samples = self._packets[0]
            without_first = self._samples - len(first_sizes) * first_samples
            if without_first < _KEPT:
                return
            self._packets.popleft()
            self._samples = without_first

    def fill(self, end: int, *, stereo: bool) -> None:
        """Nothing but silence came before the media position `end`."""
        self._packets.clear()
        self._samples = 0
        for packet, samples in silence(end - _KEPT, _KEPT, stereo=stereo):
            self.add(packet, (len(packet),), samples)

    def before(self, start: int, *, end: int) -> list[tuple[bytes, int]]:
        """The packets of a slice that begins at the media position `start`, its pre-roll and what
        straddles its start, each with its samples; the last one of all ends at `end`."""
        position = end - self._samples
        found = []
        for data, sizes, samples in self._packets:
            at = 0
            for size in sizes:
                position += samples
                if position > start - PRE_ROLL:
                    found.append((data[at : at + size], samples))
                at += size
        return found
