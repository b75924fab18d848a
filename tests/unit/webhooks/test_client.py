"""Posting webhooks: their signatures, and the way through a proxy."""

import asyncio

import pytest

from cloudslice.config import AppSettings
from cloudslice.webhooks.client import WebhookClient, WebhookError, sign
from helpers.webhooks import WebhookReceiver

PUBLISHED = (
    '{\n\t"EventGroupId":\t2,\n\t"EventType":\t204,\n\t"CallbackTs":\t1664209748188,\n'
    '\t"EventInfo":\t{\n\t\t"RoomId":\t8489,\n\t\t"EventTs":\t1664209748,\n'
    '\t\t"EventMsTs":\t1664209748180,\n\t\t"UserId":\t"user_85034614",\n\t\t"Reason":\t0\n\t}\n}'
)
OWN = (
    '{"EventGroupId":10,"EventType":1001,"CallbackTs":1700000001250,"EventInfo":{"RoomId":150,'
    '"EventTs":1700000001,"EventMsTs":1700000001200,"UserId":"slice_bot_150",'
    '"TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}'
)


@pytest.mark.parametrize(
    ("key", "body", "expected"),
    [
        pytest.param(
            "123654", PUBLISHED, "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA=", id="published"
        ),
        pytest.param(
            "SliceCallbackKey0001", OWN, "UJ7ghrQYD1k5bMvC5ipV2inNUzn0sAQmrZM9lWnszTM=", id="own"
        ),
    ],
)
def test_vectors(key: str, body: str, expected: str) -> None:
    """The signature is over the very bytes, in the standard alphabet, padded."""
    assert sign(body.encode(), key) == expected


async def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets requests for hosts that are not excepted, and the whole URL."""
    async with WebhookReceiver() as proxy, WebhookReceiver() as receiver:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with WebhookClient(timeout_s=5) as client:
            for url in ("http://far.example/hook?x=%2B", receiver.url):
                await client.post(
                    AppSettings(sdk_app_id=1, secret_key="x", callback_url=url), b"{}"
                )
    assert [each.target for each in proxy.requests] == ["http://far.example/hook?x=%2B"]
    assert [each.target for each in receiver.requests] == ["/hook?from=cloudslice"]


async def test_without_a_proxy_the_host_itself_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    app = AppSettings(sdk_app_id=1, secret_key="x", callback_url="http://127.0.0.1:9/")
    async with WebhookClient(timeout_s=5) as client:
        with pytest.raises(WebhookError, match=r"127\.0\.0\.1"):
            await client.post(app, b"{}")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"204 No Content\r\n\r\nthere should be none", id="a body after 204"),
        pytest.param(
            b"200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n", id="a bad chunk"
        ),
        pytest.param(b"200 OK\r\nContent-Length: 9\r\n\r\nshort", id="a body cut short"),
        pytest.param(
            b"200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\noops", id="no gzip"
        ),
    ],
)
async def test_the_status_is_the_answer_whatever_follows_it(answer: bytes) -> None:
    """Also in the same segment: a webhook that was taken is not sent again."""
    assert await post_to(answer) == 1


@pytest.mark.parametrize(
    "answer", [b"500 Oops\r\n\r\nbody", b"302 Found\r\nLocation: /\r\n\r\n", b"2", b"two\r\n\r\n"]
)
async def test_without_a_success_it_has_failed(answer: bytes) -> None:
    """A redirect is none; it is not followed."""
    with pytest.raises(WebhookError):
        await post_to(answer)


async def post_to(answer: bytes) -> int:
    """Post to a server that sends `answer` and hangs up; how many requests it got."""
    requests = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        await reader.readuntil(b"\r\n\r\n{}")
        requests += 1
        writer.write(b"HTTP/1.1 " + answer)
        await writer.drain()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        WebhookClient(timeout_s=5) as client,
    ):
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await client.post(AppSettings(sdk_app_id=1, secret_key="x", callback_url=url), b"{}")
    return requests
