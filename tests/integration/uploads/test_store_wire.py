"""What a PutObject looks like on the wire (docs/wire.md, 9.3)."""

import asyncio
import hashlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.objects import ObjectStore, StoredObject
from cloudslice.uploads.storage_errors import StorageError
from helpers.stores import make_object, make_settings, opened

KEY = "p/9+a../u/audios/1_a b?#%&+~[]{}^|<>:;!$()=@,._u_20231114221321.ogg"
ENCODED = (
    "p/9%2Ba../u/audios/1_a%20b%3F%23%25%26%2B~%5B%5D%7B%7D%5E%7C%3C%3E%3A%3B%21%24%28%29%3D%40"
    "%2C._u_20231114221321.ogg"
)


@dataclass
class Capture:
    """A server that writes down one request each time and answers as it is told."""

    answer: bytes = (
        b'HTTP/1.1 200 OK\r\nETag: "9a0364b9e99bb480dd25e1f0284c8555"\r\n'  # MD5 of "content"
        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    lines: list[str] = field(default_factory=list)
    body: bytes = b""

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.lines.extend(head.splitlines())
        self.body = await reader.readexactly(int(self.headers["content-length"]))
        writer.write(self.answer)
        await writer.drain()
        writer.close()

    @property
    def headers(self) -> dict[str, str]:
        pairs = (line.partition(": ") for line in self.lines[1:] if line)
        return {name.lower(): value for name, _, value in pairs}


@pytest.fixture
def capture() -> Capture:
    return Capture()


BUCKET = Bucket(Vendor.OSS, "cn-hangzhou", "demo-125", "AKIDEXAMPLE", "SecretExample")


@pytest.fixture
async def url(capture: Capture) -> AsyncIterator[str]:
    async with await asyncio.start_server(capture.serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def store(url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ObjectStore]:
    monkeypatch.setenv("AWS_SESSION_TOKEN", "TokenOfTheMachine")
    async with opened(BUCKET, make_settings(url, timeout_s=5)) as store:
        yield store


@pytest.fixture
def item() -> StoredObject:
    return make_object(KEY)


async def test_one_plain_signed_put(
    store: ObjectStore, capture: Capture, item: StoredObject
) -> None:
    """Length and hash of the body are known in front; nothing that OSS refuses is sent."""
    await store.put(item)
    assert capture.lines[0] == f"PUT /demo-125/{ENCODED} HTTP/1.1"
    assert capture.body == b"content"
    headers = capture.headers
    assert headers["content-length"] == "7"
    assert headers["content-type"] == "audio/ogg"
    assert headers["content-md5"] == "mgNkuembtIDdJeHwKEyFVQ=="
    assert headers["accept-encoding"] == "identity"
    assert headers["x-amz-meta-start-ms"] == "5"
    assert headers["x-amz-content-sha256"] == hashlib.sha256(b"content").hexdigest()
    assert "/cn-hangzhou/s3/aws4_request" in headers["authorization"]
    assert "Credential=AKIDEXAMPLE/" in headers["authorization"]
    forbidden = {"transfer-encoding", "content-encoding", "x-amz-trailer", "x-amz-security-token"}
    assert not forbidden & set(headers)
    assert not any("checksum" in name or "acl" in name for name in headers)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param({"checksum": "none"}, {"content-md5": None}, id="no checksum"),
        pytest.param(
            {"checksum": "x-amz-checksum-sha256"},
            {
                "content-md5": None,
                "x-amz-checksum-sha256": "7XACtDnprIRfIjV9giusFERzD722AW0+yUMil7nsn3M=",
            },
            id="SHA-256",
        ),
        pytest.param(
            {"encryption": "aws:kms", "kms_key_id": "alias/k"},
            {
                "x-amz-server-side-encryption": "aws:kms",
                "x-amz-server-side-encryption-aws-kms-key-id": "alias/k",
            },
            id="encryption",
        ),
        pytest.param(
            {"acl": "bucket-owner-full-control"},
            {"x-amz-acl": "bucket-owner-full-control"},
            id="ACL",
        ),
        pytest.param(
            {"session_token": "TheTasks"}, {"x-amz-security-token": "TheTasks"}, id="token"
        ),
    ],
)
async def test_headers_of_the_settings_are_sent_and_signed(
    capture: Capture,
    url: str,
    item: StoredObject,
    settings: dict[str, object],
    expected: dict[str, str | None],
) -> None:
    async with opened(BUCKET, make_settings(url, **settings)) as store:
        await store.put(item)
    assert {name: capture.headers.get(name) for name in expected} == expected
    signed = capture.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    sent = {name for name, value in expected.items() if value}
    assert sent | {"host", "content-type", "x-amz-date"} <= set(signed.split(";"))


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        pytest.param(
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 86\r\nConnection: close\r\n\r\n"
            b"<Error><Code>AccessDenied</Code>"
            b"<Message>Access Denied: AKIDEXAMPLE.</Message></Error>",
            403, "AccessDenied: Access Denied: ***.", id="refused, with the key in the text",
        ),
        pytest.param(
            b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            500, "Http500: The store gave no reason.", id="broken, without a word",
        ),
        pytest.param(b"", 0, "ConnectionFailed: The store cannot be reached", id="hangs up"),
        pytest.param(b"HTTP/1.1 2", 0, "ConnectionFailed: The store", id="hangs up in the middle"),
        pytest.param(b"garbage\r\n\r\n", 0, "ConnectionFailed: The store", id="is no HTTP server"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
            0, "ConnectionFailed: The store cannot be reached: not HTTP: ", id="garbage header",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            0, "ConnectionFailed: The store cannot be reached: not HTTP: ", id="garbage length",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nx: " + bytes(100_000).hex().encode() + b"\r\n\r\n",
            0, "ConnectionFailed: The store cannot be reached: not HTTP: ", id="endless header",
        ),
        pytest.param(
            b"HTTP/1.1 301 Moved\r\nx-amz-bucket-region: \xff\xfe\r\nConnection: close\r\n\r\n",
            301, "Http301: The store gave no reason.", id="header in no encoding",
        ),
        pytest.param(
            b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            503, "Http503: The store gave no reason.", id="garbage chunk",
        ),
    ],
)  # fmt: skip
async def test_real_failures_are_translated(
    store: ObjectStore,
    capture: Capture,
    item: StoredObject,
    answer: bytes,
    status: int,
    message: str,
) -> None:
    """Whatever the other end does comes out as one kind of error, with what it said."""
    capture.answer = answer
    with pytest.raises(StorageError) as caught:
        await store.put(item)
    assert caught.value.status == status
    assert str(caught.value).startswith(message)
