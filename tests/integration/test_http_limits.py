"""Clients that nobody knows cannot take a server's memory, nor keep others out."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from helpers.node import SECRET_ID, SECRET_KEY, Node
from helpers.signing import KeyPair, tc3_headers

MIB = 1024 * 1024
BODY = b'{"a":"' + b"x" * (10 * MIB - 8) + b'"}'
REQUESTS = 50
MEMORY_MIB = 16
SETTINGS = f"""
[http]
body_memory_mib = {MEMORY_MIB}
[api]
allowed_addresses = ["127.0.0.1"]
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Node(tmp_path_factory.mktemp("node"), "", more_settings=SETTINGS) as started:
        started.start()
        yield started


def peak_mib(node: Node) -> float:
    """The most memory that the server has had since `forget_peak`."""
    status = Path(f"/proc/{node.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def forget_peak(node: Node) -> None:
    Path(f"/proc/{node.pid}/clear_refs").write_text("5")


def headers(node: Node, keys: KeyPair) -> dict[str, str]:
    """Of a call with the body `{}`."""
    return tc3_headers(
        keys,
        "DescribeCloudSliceTask",
        timestamp=int(time.time()),
        host=f"127.0.0.1:{node.http_port}",
        body=b"{}",
    )


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["Response"]["Error"]["Code"])


async def pieces() -> AsyncIterator[bytes]:
    """The body as a chunked one."""
    for start in range(0, len(BODY), MIB):
        yield BODY[start : start + MIB]


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with a length", "chunked"])
@pytest.mark.parametrize(
    ("keys", "codes"),
    [
        pytest.param(None, {"InvalidParameter"}, id="no signature"),
        pytest.param(
            KeyPair("AKIDSTRANGER", "x"), {"AuthFailure.SecretIdNotFound"}, id="a stranger's"
        ),
        pytest.param(
            KeyPair(SECRET_ID, "x"),
            {"AuthFailure.SignatureFailure", "RequestLimitExceeded"},
            id="a wrong one",
        ),
    ],
)
async def test_50_bodies_of_10_megabytes_take_bounded_memory(
    node: Node, keys: KeyPair | None, codes: set[str], is_chunked: bool
) -> None:
    """All of their senders see the answer."""
    given = headers(node, keys) if keys else {"Content-Type": "application/json"}
    forget_peak(node)
    before = peak_mib(node)

    async def post(client: httpx.AsyncClient) -> str:
        content = pieces() if is_chunked else BODY
        answer = await client.post(node.url, content=content, headers=given)
        return code_of(answer)

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        seen = await asyncio.gather(*(post(client) for _ in range(REQUESTS)))
    if is_chunked:  # whose size shows late: until then it has a share of the memory
        codes = codes | {"RequestLimitExceeded"}
    assert set(seen) <= codes
    assert peak_mib(node) - before < MEMORY_MIB + 64, "far less than the 500 MB that were sent"


@pytest.mark.parametrize(
    ("forwarded", "code"),
    [
        ("127.0.0.1", "MissingParameter.SdkAppId"),
        ("127.0.0.1:1234", "MissingParameter.SdkAppId"),
        ("203.0.113.7", "IpNotInWhitelist"),
        ("unknown", "IpNotInWhitelist"),
        ("\xe9 <b>, \xff", "IpNotInWhitelist"),
        ("1.2.3.4.5, [::1", "IpNotInWhitelist"),
    ],
)
async def test_a_proxy_may_say_anything_of_its_client(
    node: Node, forwarded: str, code: str
) -> None:
    """Whom it names counts for api.allowed_addresses; nothing of it is an error of ours."""
    given = headers(node, KeyPair(SECRET_ID, SECRET_KEY))
    raw = [(name.encode(), value.encode()) for name, value in given.items()]
    raw.append((b"X-Forwarded-For", forwarded.encode("latin-1")))
    async with httpx.AsyncClient() as client:
        answer = await client.post(node.url, content=b"{}", headers=raw)
    assert code_of(answer) == code


async def test_a_request_line_may_have_a_whole_url(node: Node) -> None:
    """As some clients send it that take us for a proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.http_port)
    given = headers(node, KeyPair(SECRET_ID, SECRET_KEY)) | {"Content-Length": "2"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    if "host" not in lines.lower():
        lines += f"Host: 127.0.0.1:{node.http_port}\r\n"
    writer.write(f"POST {node.url}/ HTTP/1.1\r\n{lines}Connection: close\r\n\r\n{{}}".encode())
    answer = await reader.read()
    writer.close()
    assert b"MissingParameter.SdkAppId" in answer
