"""Whatever arrives at the gateway: a well-formed envelope or a closed connection, soon, and never
an error of ours."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudslice.api.gateway import Gateway
from cloudslice.clock import SystemClock
from helpers.api_fakes import (
    APP,
    BOUNDARY,
    HOST,
    KEYS,
    NOW,
    TASK_ID,
    FakeEvents,
    FakeRooms,
    FakeTasks,
    GatewayBench,
    check_envelope,
    create_parameters,
    make_settings,
)
from helpers.asgi_server import serving
from helpers.signing import flatten, multipart, tc3_headers, v1_fields

SOON_S = 5
"""The measured worst is a twentieth of it: room for a machine that does other things too."""
FUZZ = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

ACTIONS = st.sampled_from(
    ["CreateCloudSliceTask", "DescribeCloudSliceTask", "ModifyCloudSliceTask", "RemoveUser", "x"]
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "OPTIONS"])
CONTENT_TYPES = st.sampled_from(
    [
        "application/json",
        "application/x-www-form-urlencoded",
        f"multipart/form-data; boundary={BOUNDARY}",
        "multipart/form-data; boundary=",
        "multipart/form-data",
        "application/octet-stream",
        "application/json; charset=utf-16",
        "",
    ]
)
HEADER_NAMES = st.sampled_from(
    [
        *("X-TC-Action", "X-TC-Version", "X-TC-Timestamp", "X-TC-Region", "X-TC-Language"),
        *("X-TC-Token", "X-TC-TraceId", "X-TC-Content-SHA256", "X-TC-RequestClient"),
        *("Authorization", "Host", "Content-Type"),
    ]
)
HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40) | (
    st.sampled_from(
        [
            *(str(NOW), "2019-07-22", "ap-singapore", "null", "zh-CN", "UNSIGNED-PAYLOAD"),
            *(
                "SKIP",
                "TC3-HMAC-SHA256 ",
                "TC3-HMAC-SHA256 Credential=/,SignedHeaders=;,Signature=",
            ),
            *("9" * 100, "-1", "1e9", "0x10"),
        ]
    )
)
JSON_TEXTS = st.recursive(
    st.sampled_from(
        ["null", "true", "0", "-1", "1e999", "9" * 30, '""', '"\\u0000"', '"ü"', "NaN"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.dictionaries(st.sampled_from(["SdkAppId", "TaskId", "SliceParams", "x"]), inner).map(
            lambda d: "{" + ",".join(f'"{name}":{value}' for name, value in d.items()) + "}"
        )
    ),
    max_leaves=8,
)
BODIES = (
    st.binary(max_size=200)
    | JSON_TEXTS.map(str.encode)
    | st.sampled_from(
        [
            multipart({"SdkAppId": "1", "SliceParams": {"a": [1]}}, BOUNDARY),
            b"SdkAppId=1&TaskId=%zz&a.b=1&a=2",
            b"A.0.1.2.3=x&A.0.1=y",
            b"&&&===",
            b'{"a":' * 300,
        ]
    )
)
FIELD_NAMES = st.sampled_from(
    [*flatten(create_parameters()), "UserIds.0", "UserIds.1.x", "Nonce", "Region", "a..b", "."]
)


@FUZZ
@given(
    METHODS,
    st.dictionaries(HEADER_NAMES, HEADER_VALUES),
    st.binary(max_size=60).map(lambda raw: raw.translate(None, b"#\r\n \t")),
    BODIES,
)
async def test_any_request(method: str, headers: dict[str, str], query: bytes, body: bytes) -> None:
    """Headers, query and body of every sort, unsigned."""
    bench = GatewayBench()
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    response = await call_asgi(bench.gateway, scope, body)
    check_envelope(response)
    assert not response.json()["Response"]["Error"]["Code"].startswith("InternalError")


@FUZZ
@given(ACTIONS, METHODS.filter(lambda method: method in ("GET", "POST")), CONTENT_TYPES, BODIES)
async def test_any_signed_body(action: str, method: str, content_type: str, body: bytes) -> None:
    """Bodies of every sort that get past the signature."""
    bench = GatewayBench()
    query = "SdkAppId=1&a.0.b=2"
    headers = tc3_headers(
        KEYS,
        action,
        timestamp=NOW,
        host=HOST,
        body=body,
        query=query,
        method=method,
        content_type=content_type,
    )
    answer = await bench.send(method, headers, content=body, query=query)
    assert answer.code is not None
    assert not answer.code.startswith(("InternalError", "AuthFailure"))


@FUZZ
@given(
    ACTIONS,
    st.sampled_from(["GET", "POST"]),
    st.dictionaries(FIELD_NAMES, st.text(max_size=8) | st.just(str(APP)) | st.just(TASK_ID)),
)
async def test_any_signed_form(action: str, method: str, fields: dict[str, str]) -> None:
    """Fields of every sort that get past the older signature."""
    bench = GatewayBench()
    signed = v1_fields(KEYS, action, fields, timestamp=NOW, host=HOST, method=method)
    answer = await bench.send_v1(method, signed)
    assert answer.code is None or not answer.code.startswith("InternalError")


async def call_asgi(app: Any, scope: dict[str, Any], body: bytes) -> httpx.Response:
    """One request without a client that would repair it on its way."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, end = sent
    return httpx.Response(start["status"], headers=start["headers"], content=end["body"])


@pytest.fixture
async def port() -> AsyncIterator[int]:
    gateway = Gateway(make_settings(), FakeTasks(), FakeRooms(), FakeEvents(), SystemClock())
    async with serving(gateway) as port:
        yield port


WIRE = [
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, id="tls-hello"),
    pytest.param(b"\x00" * 100_000, id="zeros"),
    pytest.param(b"GET", id="cut-off-method"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{", id="cut-off-body"),
    pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", id="bad-length"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="bad-chunk"
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n0\r\n\r\n",
        id="chunked",
    ),
    pytest.param(b"GET /?\xff\xfe=%00 HTTP/1.1\r\nHost: x\r\n\r\n", id="raw-bytes-in-the-query"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", id="fat-head"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", id="two-hosts"),
    pytest.param(b"GET / HTTP/1.0\r\n\r\n", id="http-1.0-without-host"),
    pytest.param(b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n", id="trace"),
    pytest.param(b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n", id="absolute-target"),
    pytest.param(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", id="asterisk-target"),
    pytest.param(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", id="connect"),
]


@pytest.mark.parametrize("data", WIRE)
async def test_any_bytes(port: int, data: bytes) -> None:
    """An HTTP answer or a closed connection; and the next client is served at once."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    writer.write_eof()
    async with asyncio.timeout(SOON_S):
        try:
            answer = await reader.read()
        except ConnectionResetError:
            answer = b""
    writer.close()
    head, _, _ = answer.partition(b"\r\n\r\n")
    assert answer == b"" or head.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 "))
    assert b"Traceback" not in answer
    async with httpx.AsyncClient() as client:
        check_envelope(await client.get(f"http://127.0.0.1:{port}/"))
    assert time.monotonic() - started < SOON_S


LARGE = [
    pytest.param(b"[" * 10_000_000, id="brackets"),
    pytest.param(
        b'{"a":' + b"[" * 150 + b"]" * 150 + b',"b":"' + b"x" * 9_000_000 + b'"}', id="text"
    ),
    pytest.param(b'{"a":[' + b"{}," * 3_000_000 + b"{}]}", id="objects"),
    pytest.param(b"{" + b",".join(b'"%d":1' % n for n in range(900_000)) + b"}", id="names"),
    pytest.param(b'{"a":' + b"9" * 10_000_000 + b"}", id="digits"),
    pytest.param(b'{"a":"' + b"\\u0041" * 1_600_000 + b'"}', id="escapes"),
    pytest.param(b'{"a":"' + b"\\" * 10_000_000 + b'"}', id="backslashes"),
]


@pytest.mark.parametrize("body", LARGE)
async def test_any_large_body_is_dealt_with_soon(body: bytes) -> None:
    """Up to the limit of size, whatever the JSON is made of, the event loop is not held up."""
    bench = GatewayBench()
    started = time.perf_counter()
    answer = await bench.call_raw("DescribeCloudSliceTask", body[: 10 * 1024 * 1024])
    assert answer.code in ("InvalidParameter", "UnknownParameter")
    assert time.perf_counter() - started < SOON_S


@pytest.mark.parametrize(
    "form",
    [
        pytest.param("&".join(f"a.{n}=x" for n in range(19_000)), id="list"),
        pytest.param("&".join(f"{'a.' * 30}{n}=x" for n in range(12_000)), id="deep"),
        pytest.param("a" + ".a" * 400_000 + "=x", id="deeper"),
        pytest.param("a=" + "%41" * 300_000, id="encoded"),
        pytest.param("&" * 1_000_000, id="ampersands"),
    ],
)
async def test_any_large_form_is_dealt_with_soon(form: str) -> None:
    bench = GatewayBench()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    started = time.perf_counter()
    answer = await bench.send("POST", headers, content=form.encode()[: 1024 * 1024])
    assert answer.code in ("InvalidParameter", "MissingParameter")
    assert time.perf_counter() - started < SOON_S
