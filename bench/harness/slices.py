"""Which slices were due in a window, which came, and how long it took them."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

AUDIO_SLICE_S = 15
PICTURE_INTERVAL_S = 5
LATE_MS = 1500
"""The goal for the 99th percentile: what comes later counts as late."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A slice that has reached its bucket. Times in UTC milliseconds.

    Attributes:
        due_ms: when the picture was due; of an audio slice, when its last sample was.
    """

    user_id: str
    is_picture: bool
    due_ms: int
    stored_ms: int
    size: int


@dataclass(frozen=True, slots=True)
class Punctuality:
    """Of slices due in a window. Delays in milliseconds from due time to bucket."""

    due: int
    made: int
    late: int
    missing: int
    p50_ms: int
    p99_ms: int
    max_ms: int


def judge(
    arrivals: Iterable[Arrival],
    user_ids: Sequence[str],
    window_ms: tuple[int, int],
    interval_s: float,
) -> Punctuality:
    """What became of the slices of one kind that were due from the window's start to its end.

    An anchor's due times are `interval_s` apart, but for its first one.
    """
    by_user: dict[str, list[Arrival]] = defaultdict(list)
    for each in arrivals:
        by_user[each.user_id].append(each)
    due = 0
    delays: list[int] = []
    for user_id in user_ids:
        last_ms = max((each.due_ms for each in by_user[user_id]), default=window_ms[0])
        first, end = (math.ceil((edge - last_ms) / (interval_s * 1000)) for edge in window_ms)
        due += end - first
        delays += [
            each.stored_ms - each.due_ms
            for each in by_user[user_id]
            if first <= round((each.due_ms - last_ms) / (interval_s * 1000)) < end
        ]
    delays.sort()
    return Punctuality(
        due=due,
        made=len(delays),
        late=sum(delay > LATE_MS for delay in delays),
        missing=due - len(delays),
        p50_ms=percentile(delays, 0.5),
        p99_ms=percentile(delays, 0.99),
        max_ms=percentile(delays, 1),
    )


def percentile(ordered: Sequence[int], part: float) -> int:
    """The smallest value that at least `part` of all do not exceed; 0 if there is none."""
    return ordered[math.ceil(part * len(ordered)) - 1] if ordered else 0
