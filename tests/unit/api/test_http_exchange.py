"""Reading a request: its limits hold while it streams, whatever the client does."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from cloudslice.api import http_exchange
from cloudslice.api.errors import ApiError, Code, Phrase
from cloudslice.api.http_exchange import (
    BodyReader,
    ClientDisconnectedError,
    Head,
    Message,
    Receive,
    read_head,
)

MEGABYTE = 1024 * 1024
JSON_POST = Head("POST", b"", {"content-type": "application/json"}, size=100)
FORM_POST = Head("POST", b"", {"content-type": http_exchange.FORM + "; charset=utf-8"}, size=100)


async def read_body(head: Head, receive: Receive, reader: BodyReader | None = None) -> bytes:
    """The body, of a sender who may send whatever fits."""
    return await (reader or BodyReader(60, 32 * MEGABYTE)).read(head, receive, lambda: None)


class Client:
    """Sends these chunks; counts how many of them were taken.

    Args:
        chunks: what it sends.
        ends: whether the body ends then; if not, the client goes away.
        pauses: whether it waits for `go_on` after the first chunk, and says so by `paused`.
    """

    def __init__(self, chunks: Iterable[bytes], *, ends: bool = True, pauses: bool = False) -> None:
        self.chunks = iter(chunks)
        self.ends = ends
        self.pauses = pauses
        self.paused, self.go_on = asyncio.Event(), asyncio.Event()
        self.taken = 0

    async def receive(self) -> Message:
        if self.pauses and self.taken == 1:
            self.paused.set()
            await self.go_on.wait()
        chunk = next(self.chunks, None)
        if chunk is not None:
            self.taken += 1
            return {"type": "http.request", "body": chunk, "more_body": True}
        if self.ends:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}


async def never() -> Message:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


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


async def test_a_body_that_does_not_come_is_not_waited_for_forever() -> None:
    with pytest.raises(ApiError, match=r"within 0\.01 seconds") as refusal:
        await read_body(JSON_POST, never, BodyReader(0.01, MEGABYTE))
    assert refusal.value.code is Code.INVALID_REQUEST


class Doorkeeper:
    """Lets nobody send a large body; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def admit(self) -> None:
        self.asked += 1
        raise ApiError(Code.AUTH_SECRET_ID_NOT_FOUND, Phrase("unknown", ""))


@pytest.mark.parametrize("declared", [{}, {"content-length": str(2 * MEGABYTE)}])
async def test_a_large_body_is_kept_only_for_who_may_send_one(declared: dict[str, str]) -> None:
    """Others' bodies are thrown away as they come, so that they see the answer."""
    head = Head("POST", b"", JSON_POST.headers | declared, size=100)
    client, doorkeeper = Client([b"x" * 65536] * 32), Doorkeeper()
    with pytest.raises(ApiError) as refusal:
        await BodyReader(60, MEGABYTE).read(head, client.receive, doorkeeper.admit)
    assert refusal.value.code is Code.AUTH_SECRET_ID_NOT_FOUND
    assert client.taken == 32
    assert doorkeeper.asked == 1


async def test_nobody_is_asked_about_a_body_of_common_size() -> None:
    doorkeeper = Doorkeeper()
    reader = BodyReader(60, MEGABYTE)
    body = await reader.read(JSON_POST, Client([b"x" * MEGABYTE]).receive, doorkeeper.admit)
    assert len(body) == MEGABYTE
    assert doorkeeper.asked == 0


async def test_who_asks_before_sending_is_answered_before() -> None:
    """Nothing of the body is read (RFC 9110, 10.1.1)."""
    more = {"content-length": str(11 * MEGABYTE), "expect": "100-continue"}
    with pytest.raises(ApiError) as refusal:
        await read_body(Head("POST", b"", JSON_POST.headers | more, size=100), never)
    assert refusal.value.code is Code.REQUEST_SIZE_LIMIT_EXCEEDED


async def test_all_bodies_together_have_bounded_memory() -> None:
    """What is too much is answered with the code that clients repeat on; small ones always fit."""
    reader = BodyReader(60, 2 * MEGABYTE)
    slow = Client([b"x" * MEGABYTE, b"x" * MEGABYTE], pauses=True)
    first = asyncio.create_task(read_body(JSON_POST, slow.receive, reader))
    await slow.paused.wait()
    large = [b"x" * MEGABYTE] * 2
    with pytest.raises(ApiError) as refusal:
        await read_body(JSON_POST, Client(large).receive, reader)
    assert refusal.value.code is Code.REQUEST_LIMIT_EXCEEDED
    assert len(await read_body(JSON_POST, Client([b"x" * 65536]).receive, reader)) == 65536
    slow.go_on.set()
    assert len(await first) == 2 * MEGABYTE
    assert len(await read_body(JSON_POST, Client(large).receive, reader)) == 2 * MEGABYTE


@pytest.mark.parametrize("end", ["gone", "too slow", "cancelled"])
async def test_memory_comes_back_however_a_body_ends(end: str) -> None:
    reader = BodyReader(0.01 if end == "too slow" else 60, MEGABYTE)
    client = Client([b"x" * MEGABYTE], ends=False, pauses=end != "gone")
    reading = asyncio.create_task(read_body(JSON_POST, client.receive, reader))
    if end == "cancelled":
        await client.paused.wait()
        reading.cancel()
    with pytest.raises((ApiError, ClientDisconnectedError, asyncio.CancelledError)):
        await reading
    assert len(await read_body(JSON_POST, Client([b"x" * MEGABYTE]).receive, reader)) == MEGABYTE


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
