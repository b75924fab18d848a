"""Reading a request: its limits hold while it streams, whatever the client does."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from cloudslice.api import transport
from cloudslice.api.errors import ApiError, Code
from cloudslice.api.transport import ClientDisconnectedError, Head, Message, read_body, read_head

MEGABYTE = 1024 * 1024
JSON_POST = Head("POST", b"", {"content-type": "application/json"}, size=100)
FORM_POST = Head("POST", b"", {"content-type": transport.FORM + "; charset=utf-8"}, size=100)


class Client:
    """Sends these chunks; counts how many of them were taken."""

    def __init__(self, chunks: Iterable[bytes], *, ends: bool = True) -> None:
        self.chunks = iter(chunks)
        self.ends = ends
        self.taken = 0

    async def receive(self) -> Message:
        chunk = next(self.chunks, None)
        if chunk is not None:
            self.taken += 1
            return {"type": "http.request", "body": chunk, "more_body": True}
        if self.ends:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await read_body(JSON_POST, Client([b"ab", b"", b"c"]).receive) == b"abc"


@pytest.mark.parametrize(
    ("head", "limit"),
    [
        pytest.param(JSON_POST, 10 * MEGABYTE, id="json"),
        pytest.param(FORM_POST, MEGABYTE, id="form"),
        pytest.param(Head("GET", b"", {}, size=1000), 32 * 1024 - 1000, id="get"),
    ],
)
async def test_the_limit_is_exact(head: Head, limit: int) -> None:
    pieces = [b"x" * (limit // 2), b"x" * (limit - limit // 2)]
    assert len(await read_body(head, Client(pieces).receive)) == limit
    with pytest.raises(ApiError) as refusal:
        await read_body(head, Client([*pieces, b"x"]).receive)
    assert refusal.value.code is Code.REQUEST_SIZE_LIMIT_EXCEEDED


async def test_too_large_a_body_is_read_on_so_that_the_client_sees_the_answer() -> None:
    client = Client([b"x" * MEGABYTE] * 20)
    with pytest.raises(ApiError):
        await read_body(JSON_POST, client.receive)
    assert client.taken == 20


async def test_an_endless_body_is_given_up() -> None:
    client = Client(iter(lambda: b"x" * MEGABYTE, b""))
    with pytest.raises(ApiError) as refusal:
        await read_body(JSON_POST, client.receive)
    assert refusal.value.code is Code.REQUEST_SIZE_LIMIT_EXCEEDED
    assert client.taken == 65


async def test_a_client_that_goes_away_gets_no_answer() -> None:
    with pytest.raises(ClientDisconnectedError):
        await read_body(JSON_POST, Client([b"{"], ends=False).receive)


async def test_a_body_that_does_not_come_is_not_waited_for_forever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never() -> Message:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(transport, "_BODY_TIMEOUT_S", 0.01)
    with pytest.raises(ApiError) as refusal:
        await read_body(JSON_POST, never)
    assert refusal.value.code is Code.INVALID_REQUEST


def test_header_names_have_no_case_and_the_first_of_a_name_counts() -> None:
    scope: dict[str, Any] = {
        "method": "GET",
        "path": "/",
        "query_string": b"a=%2B&b=+",
        "headers": [(b"X-Tc-Action", b"A"), (b"x-tc-action", b"B"), (b"host", b"h\xe9")],
    }
    head = read_head(scope)
    assert head.headers == {"x-tc-action": "A", "host": "h\xe9"}
    assert head.query == b"a=%2B&b=+"


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [("Application/JSON ; charset=UTF-8", "application/json"), ("", ""), ("a/b", "a/b")],
)
def test_the_media_type_is_the_content_type_without_its_parameters(
    content_type: str, media_type: str
) -> None:
    assert Head("POST", b"", {"content-type": content_type}, size=0).media_type == media_type
