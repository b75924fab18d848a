"""multipart/form-data: what clients send, and what is none (RFC 7578, RFC 2046)."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.api.multipart import MultipartError, Part, parse_multipart
from helpers.signing import multipart

TYPE = "multipart/form-data; boundary=B"


def part(name: str, content: bytes = b"x") -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"\r\n\r\n'
    return b"--B\r\n" + disposition.encode() + content + b"\r\n"


def parse(body: bytes, content_type: str = TYPE) -> list[Part]:
    return list(parse_multipart(content_type, body))


@pytest.mark.parametrize(
    ("content_type", "body", "parts"),
    [
        pytest.param(TYPE, b"", [], id="empty-body"),
        pytest.param(TYPE, b"--B--\r\n", [], id="no-parts"),
        pytest.param(TYPE, part("a") + b"--B--\r\n", [Part("a", "", b"x")], id="one"),
        pytest.param(TYPE, part("a") + b"--B--", [Part("a", "", b"x")], id="no-last-line-break"),
        pytest.param(
            TYPE,
            b"preamble\r\n" + part("a") + b"--B--\r\nepilogue",
            [Part("a", "", b"x")],
            id="preamble-and-epilogue",
        ),
        pytest.param(
            TYPE,
            part("a", b"1\r\n2\r\n-B") + part("b", b"") + b"--B--\r\n",
            [Part("a", "", b"1\r\n2\r\n-B"), Part("b", "", b"")],
            id="line-breaks-and-nothing",
        ),
        pytest.param(
            'Multipart/Form-Data; charset=x; Boundary="B"',
            part("a").replace(b"--B\r\n", b"--B \t\r\n") + b"--B--",
            [Part("a", "", b"x")],
            id="quoted-boundary-and-trailing-space",
        ),
        pytest.param(
            TYPE,
            b"--B\r\ncontent-type: Application/JSON; charset=utf-8\r\n"
            b"CONTENT-DISPOSITION: form-data; filename=name.txt; name=a\r\n\r\n{}\r\n--B--",
            [Part("a", "application/json", b"{}")],
            id="header-case-and-file-name",
        ),
    ],
)
def test_bodies_that_clients_send(content_type: str, body: bytes, parts: list[Part]) -> None:
    assert parse(body, content_type) == parts


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z.0-9]{1,9}", fullmatch=True), st.text() | st.lists(st.text())
    )
)
def test_what_the_python_client_makes_is_read_back(parameters: dict[str, Any]) -> None:
    boundary = "0123456789abcdef0123456789abcdef"
    parts = parse(multipart(parameters, boundary), f"multipart/form-data; boundary={boundary}")
    assert [part.name for part in parts] == list(parameters)
    for found, value in zip(parts, parameters.values(), strict=True):
        assert found.media_type == ("application/json" if isinstance(value, list) else "")
        if isinstance(value, str):
            assert found.content == value.encode()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param("multipart/form-data", b"--B--", id="no-boundary-named"),
        pytest.param("multipart/form-data; boundary=", b"--B--", id="empty-boundary"),
        pytest.param(TYPE, b"x", id="no-boundary-in-the-body"),
        pytest.param(TYPE, b"--C--\r\n", id="other-boundary"),
        pytest.param(TYPE, b"x--B--", id="boundary-within-a-line"),
        pytest.param(TYPE, part("a"), id="no-end"),
        pytest.param(TYPE, part("a") + b"--B", id="end-cut-off"),
        pytest.param(TYPE, part("a") + b"--Bx\r\n", id="boundary-goes-on"),
        pytest.param(TYPE, b"--B\r\n--B--", id="empty-part"),
        pytest.param(TYPE, b"--B\r\n\r\nx\r\n--B--", id="no-headers"),
        pytest.param(TYPE, b"--B\r\nA: b\r\n\r\nx\r\n--B--", id="no-disposition"),
        pytest.param(
            TYPE, b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n--B--", id="no-name"
        ),
        pytest.param(
            TYPE, b'--B\r\nContent-Disposition: file; name="a"\r\n\r\n\r\n--B--', id="no-form-data"
        ),
        pytest.param(
            TYPE,
            b'--B\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\r\n--B--',
            id="name-not-utf-8",
        ),
        pytest.param(TYPE, b"--B\r\n" + b"x" * 100_000 + b"\r\n\r\n\r\n--B--", id="fat-headers"),
    ],
)
def test_what_is_no_form(content_type: str, body: bytes) -> None:
    with pytest.raises(MultipartError):
        parse(body, content_type)


@given(st.lists(st.sampled_from([b"--B", b"\r\n", b"--", b"x", part("a")])).map(b"".join))
def test_anything_else_is_refused_or_read(body: bytes) -> None:
    """Neither another error nor an endless loop."""
    with suppress(MultipartError):
        parse(body)
