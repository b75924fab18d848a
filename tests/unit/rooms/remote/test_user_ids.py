"""Members of other servers have UserIds of ours: readable, and each another one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.ids import is_user_id
from cloudslice.rooms.remote.user_ids import identity_to_tell, is_kept, make_user_id, to_user_id

IDENTITIES = st.text(max_size=200) | st.from_regex(r"[A-Za-z0-9_-]{1,34}", fullmatch=True)


@pytest.mark.parametrize(
    ("identity", "user_id"),
    [
        ("alice", "alice"),
        ("_-A9" * 8, "_-A9" * 8),
        ("a--b", "a--b"),
        ("alice@example.com", "alice_example--76gzqgp4byjl6dje"),
        ("Jürgen Müller", "Jurgen_Muller--x"),
        ("张伟", "id--x"),
        ("张伟 (zhang)", "zhang--x"),
        ("", "id--x"),
        ("a" * 33, "aaaaaaaaaaaaaa--x"),
    ],
)
def test_what_becomes_of_identities(identity: str, user_id: str) -> None:
    """The hash is fixed: files of last year are to have the same folder as those of today."""
    beginning, mark, made = to_user_id(identity).partition("--")
    if user_id.endswith("--x"):
        assert f"{beginning}{mark}x" == user_id
        assert re.fullmatch("[a-z2-7]{16}", made)
    else:
        assert to_user_id(identity) == user_id


@given(IDENTITIES)
def test_each_is_a_user_id(identity: str) -> None:
    """The same one each time, and unchanged where it is one."""
    user_id = to_user_id(identity)
    assert is_user_id(user_id)
    assert to_user_id(identity) == user_id
    assert (user_id == identity) == is_kept(identity)
    assert identity_to_tell(identity, user_id) == ("" if user_id == identity else identity)


@given(st.sets(IDENTITIES, min_size=2))
def test_no_two_have_the_same(identities: set[str]) -> None:
    assert len({to_user_id(each) for each in identities}) == len(identities)


@given(IDENTITIES)
def test_nobody_takes_a_made_one_by_name(identity: str) -> None:
    """Who calls himself as somebody else is called here, is called otherwise."""
    made = make_user_id(identity)
    assert not is_kept(made)
    assert to_user_id(made) != made


@given(st.from_regex(r"[A-Za-z0-9]{1,14}", fullmatch=True))
def test_it_begins_as_people_know_it(name: str) -> None:
    assert to_user_id(f"{name}@example.com").startswith(name)


@pytest.mark.parametrize("identity", ["\ud800", "a\udfffb" * 60, "张" * 300])
def test_what_is_told_is_text_of_a_bounded_size(identity: str) -> None:
    """Also of what is no Unicode, which JSON may carry."""
    assert is_user_id(to_user_id(identity))
    told = identity_to_tell(identity, to_user_id(identity))
    assert told
    assert len(told.encode()) <= 256
