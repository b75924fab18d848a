"""TaskIds have the shape that clients have seen."""

import re

from cloudslice.tasks.task_id import new_task_id


def test_task_ids_are_76_characters_of_the_contracts_alphabet_without_a_leading_hyphen() -> None:
    """1000 of them: one in 64 would start with a hyphen if nothing prevented it."""
    ids = [new_task_id() for _ in range(1000)]
    assert all(re.fullmatch(r"[A-Za-z0-9+.][A-Za-z0-9+.-]{75}", each) for each in ids)
    assert len(set(ids)) == len(ids)
