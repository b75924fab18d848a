"""Encodings of parameters: flat, form and JSON (docs/wire.md, 2.2)."""

import random
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.api.encodings import MAX_VALUES, decode_flat, decode_json, decode_query
from cloudslice.api.errors import ApiError, Code
from helpers.signing import flatten

NAMES = st.text(st.characters(codec="ascii", categories=["L"]), min_size=1, max_size=5)
LEAVES = st.text(max_size=5)
NESTED = st.dictionaries(
    NAMES,
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, min_size=1, max_size=12)
            | st.dictionaries(NAMES, inner, min_size=1, max_size=4)
        ),
        max_leaves=20,
    ),
)


def refusal(function: Any, *arguments: Any) -> Code:
    with pytest.raises(ApiError) as refused:
        function(*arguments)
    return refused.value.code


@given(NESTED, st.randoms())
def test_what_is_flattened_can_be_nested_again(value: dict[str, Any], rng: random.Random) -> None:
    """In whatever order its fields arrive."""
    fields = list(flatten(value).items())
    rng.shuffle(fields)
    assert decode_flat(fields) == value


@given(NESTED)
def test_a_form_carries_any_text(value: dict[str, Any]) -> None:
    fields = flatten(value)
    assert decode_query(urlencode(fields).encode()) == fields


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        pytest.param([], {}, id="nothing"),
        pytest.param([("a.1", "y"), ("a.0", "x")], {"a": ["x", "y"]}, id="indexes-reversed"),
        pytest.param([("a.0", "x"), ("a.7", "y")], {"a": ["x", "y"]}, id="gap-closes"),
        pytest.param([("a.10", "k"), ("a.2", "c")], {"a": ["c", "k"]}, id="numbers-not-text"),
        pytest.param([("0", "x")], {"0": "x"}, id="the-root-is-an-object"),
        pytest.param([("a.0.b", "x")], {"a": [{"b": "x"}]}, id="object-in-a-list"),
        pytest.param([("a.0", "x"), ("a.b", "y")], {"a": {"0": "x", "b": "y"}}, id="mixed"),
        pytest.param([("a", "x"), ("a", "y")], {"a": "y"}, id="last-wins"),
        pytest.param([("a..b", "x")], {"a": {"": {"b": "x"}}}, id="empty-segment"),
        pytest.param([("a.9999999", "x")], {"a": {"9999999": "x"}}, id="index-beyond-reason"),
    ],
)
def test_flat_names(fields: list[tuple[str, str]], value: dict[str, Any]) -> None:
    assert decode_flat(fields) == value


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([("a", "x"), ("a.b", "y")], id="value-then-member"),
        pytest.param([("a.b", "y"), ("a", "x")], id="member-then-value"),
        pytest.param([("a" + ".a" * 100_000, "x")], id="too-deep"),
    ],
)
def test_names_that_make_no_sense(fields: list[tuple[str, str]]) -> None:
    assert refusal(decode_flat, fields) is Code.INVALID_PARAMETER


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        pytest.param(b"", {}, id="empty"),
        pytest.param(b"a=1&b=", {"a": "1", "b": ""}, id="empty-value"),
        pytest.param(b"a=x+y%20z%2B", {"a": "x y z+"}, id="spaces"),
        pytest.param(b"a=1&a=2", {"a": "2"}, id="last-wins"),
        pytest.param(b"a=b=c&", {"a": "b=c"}, id="equals-in-the-value"),
        pytest.param("a=ü&b=%C3%BC".encode(), {"a": "ü", "b": "ü"}, id="utf-8"),
    ],
)
def test_query_strings(query: bytes, fields: dict[str, str]) -> None:
    assert decode_query(query) == fields


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(b"a", id="no-equals-sign"),
        pytest.param(b"a=1&b&c=3", id="no-equals-sign-within"),
        pytest.param(b"a=%FF", id="not-utf-8"),
        pytest.param(b"a=\xff", id="not-utf-8-raw"),
        pytest.param(b"&" * MAX_VALUES, id="too-many-fields"),
    ],
)
def test_query_strings_that_cannot_be_read(query: bytes) -> None:
    assert refusal(decode_query, query) is Code.INVALID_PARAMETER


def test_json_has_a_limit_of_values_not_of_text() -> None:
    values = b",".join([b"1"] * MAX_VALUES)
    assert len(decode_json(b'{"a":[%s]}' % values)["a"]) == MAX_VALUES
    assert refusal(decode_json, b'{"a":[%s,1]}' % values) is Code.INVALID_PARAMETER


@given(st.binary())
def test_bytes_are_a_json_object_or_refused(data: bytes) -> None:
    """No other error comes out."""
    with suppress(ApiError):
        assert isinstance(decode_json(data), dict)
