"""Parameter sets of H.264 and H.265 that are kept for key frames that do not bring them."""

import base64
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

_MAX_BYTES = 1024
"""A longer parameter set is not kept for later. Their ids are few: 288 KiB at most of H.264."""

SetKey = tuple[int, int]
"""A unit's type, and its id."""


class KeptSet(Protocol):
    """A parameter set, as its codec reads it."""

    @property
    def key(self) -> SetKey:
        """Sets of the same key replace each other."""
        ...

    @property
    def unit(self) -> bytes:
        """The NAL unit."""
        ...

    @property
    def sequence(self) -> int:
        """The extended sequence number of the packet that it came with."""
        ...


S = TypeVar("S", bound=KeptSet)


class KeptSets(Generic[S]):
    """The newest set of each key.

    Args:
        read: the parameter sets among NAL units, which came with a packet of that number.
        sprops: those of the offer, in Base64 with commas between them, for senders that do not
            repeat them in the stream; a malformed one is ignored.
    """

    def __init__(self, read: Callable[[Iterable[bytes], int], Iterable[S]], sprops: str) -> None:
        self._read = read
        self._sets: dict[SetKey, S] = {}
        for text in sprops.split(","):
            try:
                self.keep([base64.b64decode(text, validate=True)], -1)
            except ValueError:
                continue

    @property
    def all(self) -> tuple[S, ...]:
        """What is kept."""
        return tuple(self._sets.values())

    @property
    def kinds(self) -> int:
        """Of how many types there are some."""
        return len({kind for kind, _id in self._sets})

    def keep(self, units: Iterable[bytes], sequence: int) -> None:
        """Keep the parameter sets among units that came with a packet."""
        for each in self._read(units, sequence):
            before = self._sets.get(each.key)
            is_newer = before is None or before.sequence < sequence
            is_other = before is None or before.unit != each.unit
            if is_newer and is_other and len(each.unit) <= _MAX_BYTES:
                self._sets[each.key] = each

    def of_keyframe(
        self, units: Iterable[bytes], first: int, *, is_first_known: bool
    ) -> dict[SetKey, S]:
        """The sets that hold for an access unit: those that it brings, which are kept, else those
        from before it. If units may be missing in front, those may have been other ones: only what
        it brings holds then.

        Args:
            units: its units.
            first: the number of its first packet.
            is_first_known: whether nothing is missing in front.
        """
        sets = {key: each for key, each in self._sets.items() if each.sequence < first}
        self.keep(units, first)
        if not is_first_known:
            sets.clear()
        sets.update({each.key: each for each in self._read(units, first)})
        return sets
