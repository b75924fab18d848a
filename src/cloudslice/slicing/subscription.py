"""Whom a robot slices: the rules of docs/wire.md, 8, and the places for anchors."""

from collections.abc import Collection, Iterable

_PREFIX_MARK = ".*$"


def is_subscribed(
    user_id: str, *, allow: Collection[str], block: Collection[str], present: Collection[str]
) -> bool:
    """Whether an anchor's audio, or video, is sliced.

    Args:
        user_id: the anchor.
        allow: if not empty, only those that match an entry are sliced.
        block: those that match an entry are not sliced.
        present: the user ids in the room. An entry that is literally one of them means only that
            user, even if it looks like a prefix rule.
    """
    if allow:
        return any(_matches(entry, user_id, present) for entry in allow)
    return not any(_matches(entry, user_id, present) for entry in block)


def _matches(entry: str, user_id: str, present: Collection[str]) -> bool:
    if entry.endswith(_PREFIX_MARK) and entry not in present:
        return user_id.startswith(entry.removesuffix(_PREFIX_MARK))
    return user_id == entry


class AnchorPlaces:
    """A limited number of places, first come, first served.

    Who finds none waits; a place that becomes free goes to who has waited longest.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: dict[str, None] = {}
        """User ids in the order in which they came: the first `limit` have the places."""

    def update(self, wanting: Iterable[str]) -> set[str]:
        """Who has a place, when those `wanting` one are these.

        New ones queue up in the order given; who does not want any more loses place and turn.
        """
        order = dict.fromkeys(wanting)
        kept = [user_id for user_id in self._queue if user_id in order]
        self._queue = dict.fromkeys([*kept, *order])
        return set(list(self._queue)[: self._limit])
