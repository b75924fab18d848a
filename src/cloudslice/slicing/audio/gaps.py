"""What stands in a slice where packets are missing (docs/decisions/gaps.md)."""

from collections.abc import Iterator

from cloudslice.codecs.opus import SAMPLE_RATE, concealment, is_celt, is_stereo, silence

_MAX_CONCEALED_CELT = SAMPLE_RATE * 120 // 1000
_MAX_CONCEALED_SILK = SAMPLE_RATE * 60 // 1000
"""Samples. After longer gaps, what came is heard no better for their being concealed."""

_MAX_DTX_BYTES = 2
"""A packet that says that nothing is sent for a while has no more."""


def is_concealed(last: bytes, samples: int) -> bool:
    """Whether a gap of `samples` after the packet `last` is left to the decoder to conceal."""
    longest = _MAX_CONCEALED_CELT if is_celt(last) else _MAX_CONCEALED_SILK
    return samples <= longest or is_announced(last)


def is_announced(last: bytes) -> bool:
    """Whether the packet `last` says that nothing is sent for a while."""
    return len(last) <= _MAX_DTX_BYTES


def fill(last: bytes, start: int, samples: int) -> Iterator[tuple[bytes, int]]:
    """Packets that fill a gap, each with its duration.

    Args:
        last: the packet before it.
        start: where it begins in its stream, in samples; a multiple of `GRID`.
        samples: its length; a multiple of `GRID`.
    """
    if is_concealed(last, samples):
        return concealment(last, samples)
    return silence(start, samples, stereo=is_stereo(last))
