"""Stores that answer oddly or hang up: what counts as stored, and what is tried once more."""

import asyncio
import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.uploads.objects import ObjectStore, StoredObject
from cloudslice.uploads.storage_errors import StorageError
from helpers.delivery import CALLBACK_KEY, PICTURE, START_MS, TASK, Site, make_test_bucket
from helpers.fault_server import FaultServer
from helpers.stores import make_object, make_settings, opened
from helpers.webhooks import WebhookReceiver

BUCKET = make_test_bucket()
KEY = "prefix1/a+b/1.ogg"
PATH = f"/{BUCKET.name}/{KEY}"
DATA = b"content" * 10000
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def server() -> AsyncIterator[FaultServer]:
    async with FaultServer() as server:
        yield server


@pytest.fixture
async def store(server: FaultServer) -> AsyncIterator[ObjectStore]:
    async with opened(BUCKET, make_settings(server.url, timeout_s=2)) as store:
        yield store


@pytest.fixture
def item() -> StoredObject:
    return make_object(KEY, DATA)


@pytest.mark.parametrize("status", [200, 201, 204])
async def test_a_success_without_an_etag_is_stored(
    server: FaultServer, store: ObjectStore, item: StoredObject, status: int
) -> None:
    """An ETag is no part of what HTTP calls success; the object is looked at all the same."""
    server.has_etag, server.put_status = False, status
    await store.put(item)
    assert server.objects == {PATH: item.content.data}
    assert server.requests == ["PUT", "HEAD"]


async def test_the_contents_md5_as_etag_proves_the_object(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    """Nobody else could have sent it, so the object is not looked at."""
    await store.put(item)
    assert server.requests == ["PUT"]


async def test_with_another_etag_the_object_is_looked_at(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    """As of a store that encrypts; it may be anything's."""
    server.etag = "e"
    await store.put(item)
    assert server.requests == ["PUT", "HEAD"]


@pytest.mark.parametrize("name", ["x-amz-request-id", "x-oss-request-id", "X-Cos-Request-Id"])
@pytest.mark.parametrize("has_etag", [False, True])
async def test_a_header_that_only_stores_send_proves_the_object(
    server: FaultServer, store: ObjectStore, item: StoredObject, name: str, *, has_etag: bool
) -> None:
    """Also of a store that encrypts, whose ETag is no MD5."""
    server.has_etag, server.etag, server.put_lines = has_etag, "e", f"{name}: 1\r\n"
    await store.put(item)
    assert server.requests == ["PUT"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("followed", ["PUT", "HEAD"])
async def test_what_a_redirect_leads_to_is_no_answer(
    server: FaultServer, store: ObjectStore, item: StoredObject, status: int, followed: str
) -> None:
    """A page that answers 200 to all, with an ETag, has not taken the object."""
    if followed == "PUT":
        server.put_status, server.keeps = status, False
    else:
        server.has_etag, server.keeps, server.head_status = False, False, status
    with pytest.raises(StorageError):
        await store.put(item)
    if followed == "HEAD":
        assert server.requests == ["PUT", "HEAD"]


async def test_a_redirect_to_who_forbids_to_look_is_no_answer(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    """403 counts of the object itself only."""
    server.has_etag, server.head_status, server.login_status = False, 302, 403
    with pytest.raises(StorageError) as caught:
        await store.put(item)
    assert caught.value.status == 302


async def test_a_redirected_upload_stays_in_the_spool(server: FaultServer, tmp_path: Path) -> None:
    """The only copy is kept, and tried until it is stored."""
    server.put_status, server.keeps = 303, False
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site = Site(tmp_path / "data", server.url, receiver.url)
        async with site.open() as delivery:
            await delivery.open(TASK, BUCKET)
            delivery.put(PICTURE, START_MS, b"the only copy", {})
            await receiver.wait_for_type(1006)
            assert delivery.uploader.counters.stored == 0
            assert any(name.endswith(".slice") for name in site.spooled)
            server.put_status, server.keeps = 200, True
            await receiver.wait_for_type(1004)
    assert list(server.objects.values()) == [b"the only copy"]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("Last-Modified: garbage\r\n", id="no date"),
        pytest.param(
            f"Transfer-Encoding: chunked\r\nx-amz-meta-sha256: {SHA256}\r\n", id="no size"
        ),
    ],
)
async def test_a_look_needs_but_the_size_or_the_hash(
    server: FaultServer, store: ObjectStore, item: StoredObject, lines: str
) -> None:
    server.has_etag, server.head_lines = False, lines
    await store.put(item)


async def test_a_look_that_shows_neither_size_nor_hash_proves_nothing(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    server.has_etag, server.head_lines = False, "Transfer-Encoding: chunked\r\n"
    with pytest.raises(StorageError, match=r"^NotStored: "):
        await store.put(item)


@pytest.mark.parametrize("status", [401, 403, 405, 501])
async def test_a_key_that_may_only_write_is_believed(
    server: FaultServer, store: ObjectStore, item: StoredObject, status: int
) -> None:
    """Where nobody may look, the answer to the PUT counts."""
    server.has_etag, server.head_status = False, status
    await store.put(item)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param({"keeps": False}, "NotStored: ", id="kept nothing"),
        pytest.param({"head_size": 7}, "NotStored: ", id="kept something else"),
        pytest.param({"head_status": 400}, "Http400: ", id="does not understand"),
        pytest.param({"head_status": 500}, "Http500: ", id="cannot tell"),
    ],
)
async def test_who_answers_200_to_anything_is_no_store(
    server: FaultServer,
    store: ObjectStore,
    item: StoredObject,
    fault: dict[str, object],
    message: str,
) -> None:
    """A proxy's or a web site's success: the slice is not in a bucket, and is tried again."""
    server.has_etag = False
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(StorageError) as caught:
        await store.put(item)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("status", [304, 400, 403, 404, 409, 500, 503])
@pytest.mark.parametrize("has_etag", [False, True])
async def test_another_answer_is_never_stored(
    server: FaultServer, store: ObjectStore, item: StoredObject, status: int, *, has_etag: bool
) -> None:
    server.put_status, server.has_etag = status, has_etag
    with pytest.raises(StorageError) as caught:
        await store.put(item)
    assert caught.value.status == status
    assert server.requests == ["PUT"]


async def test_a_connection_that_died_idle_is_replaced_at_once(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    """By a new one, as the others that are kept are likely to be as dead."""
    await asyncio.gather(*(store.put(item) for _ in range(4)))
    server.hangs_up_on_reuse = True
    await asyncio.gather(*(store.put(item) for _ in range(4)))
    assert server.requests == ["PUT"] * 8


async def test_a_connection_that_timed_out_idle_is_replaced_at_once(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    """Some servers say 408 as they close it, and that meets the next request."""
    await store.put(item)
    server.tires_on_reuse = True
    await store.put(item)
    assert server.requests == ["PUT"] * 2


async def test_a_server_that_always_hangs_up_has_failed(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    """It is tried once more, and no oftener."""
    server.hangs_up_always = True
    with pytest.raises(StorageError, match=r"^ConnectionFailed: The store cannot be reached"):
        await store.put(item)
    assert server.connections == 2


@pytest.mark.parametrize("status", [301, 307])
async def test_a_redirect_tells_where_the_bucket_is(
    server: FaultServer, store: ObjectStore, item: StoredObject, status: int
) -> None:
    """It is for people to put right: a signature of one region is worth nothing in another."""
    server.put_status, server.put_lines = status, "x-amz-bucket-region: eu-west-1\r\n"
    server.put_body = (
        b"<Error><Code>PermanentRedirect</Code><Message>Use the endpoint.</Message>"
        b"<Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint></Error>"
    )
    with pytest.raises(StorageError) as caught:
        await store.put(item)
    assert (caught.value.status, caught.value.refused) == (status, True)
    assert str(caught.value) == (
        "PermanentRedirect: Use the endpoint. "
        "(region eu-west-1, endpoint b.s3.eu-west-1.amazonaws.com)"
    )
    assert server.requests == ["PUT"]


@pytest.mark.parametrize("status", [429, 503])
async def test_the_store_says_when_to_come_again(
    server: FaultServer, store: ObjectStore, item: StoredObject, status: int
) -> None:
    server.put_status, server.put_lines = status, "Retry-After: 17\r\n"
    with pytest.raises(StorageError) as caught:
        await store.put(item)
    assert caught.value.retry_after_s == 17


async def test_an_endless_error_takes_neither_memory_nor_time(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    """Its beginning says what it is; 50 MB of it are not read."""
    server.put_status, server.trailing_bytes = 500, 50_000_000
    server.put_body = b"<Error><Code>Broken</Code><Message>Sorry.</Message>"
    tracemalloc.start()
    try:
        for _ in range(2):
            with pytest.raises(StorageError, match=r"^Broken: Sorry\.$"):
                await store.put(item)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert server.trailed < 20_000_000


@pytest.mark.parametrize(
    ("demands", "settings"),
    [
        ("x-amz-server-side-encryption: aes256", {"encryption": "AES256"}),
        ("x-amz-acl: bucket-owner-full-control", {"acl": "bucket-owner-full-control"}),
        ("content-md5: ", {}),
    ],
)
async def test_what_a_buckets_policy_demands_is_a_setting(
    server: FaultServer,
    store: ObjectStore,
    item: StoredObject,
    demands: str,
    settings: dict[str, str],
) -> None:
    """Without it the store's refusal is told; with it the object is stored."""
    server.demands = demands
    if settings:
        with pytest.raises(StorageError, match=r"^AccessDenied: with an explicit deny$"):
            await store.put(item)
    async with opened(BUCKET, make_settings(server.url, **settings)) as other:
        await other.put(item)
    assert list(server.objects) == [PATH]


async def test_a_store_that_does_not_answer(server: FaultServer, item: StoredObject) -> None:
    """It has the time of the settings."""
    server.is_silent = True
    async with opened(BUCKET, make_settings(server.url, timeout_s=0.1)) as store:
        with pytest.raises(StorageError, match=r"^Timeout: The store did not answer in time\.$"):
            await store.put(item)


async def test_an_error_that_is_cut_off_keeps_its_status(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    server.put_status, server.put_lines = 507, "Content-Length: 1000\r\n"
    server.put_body, server.hangs_up_after = b"<Error><Code>Full</Code><Mess", True
    with pytest.raises(StorageError, match=r"^Full: The store gave no reason\.$") as caught:
        await store.put(item)
    assert caught.value.status == 507


async def test_a_success_that_is_cut_off_is_a_success(
    server: FaultServer, store: ObjectStore, item: StoredObject
) -> None:
    server.put_lines, server.hangs_up_after = "Content-Length: 1000\r\n", True
    await store.put(item)
    assert server.requests == ["PUT"]


async def test_a_store_that_answers_before_it_has_read_all(
    server: FaultServer, store: ObjectStore
) -> None:
    """Its refusal is heard, though the body was never taken."""
    server.put_status, server.reads_body = 403, False
    server.put_body = b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"
    with pytest.raises(StorageError) as caught:
        await store.put(make_object(KEY, bytes(20_000_000)))
    assert str(caught.value) == "AccessDenied: No."


async def test_a_large_object_goes_whole(server: FaultServer, store: ObjectStore) -> None:
    data = bytes(range(256)) * 20_000
    await store.put(make_object(KEY, data))
    assert server.objects == {PATH: data}


async def test_a_large_object_is_sent_again_from_its_beginning(
    server: FaultServer, store: ObjectStore
) -> None:
    await store.put(make_object("other"))
    server.hangs_up_on_reuse = True
    data = bytes(range(256)) * 20_000
    await store.put(make_object(KEY, data))
    assert server.objects[PATH] == data


async def test_a_key_that_no_header_can_carry_is_refused_by_us(server: FaultServer) -> None:
    """A line break in what somebody has pasted is told as what it is, without the key."""
    bucket = replace(BUCKET, access_key="AKID\n")
    async with opened(bucket, make_settings(server.url)) as store:
        with pytest.raises(StorageError, match=r"^InvalidRequest: ") as caught:
            await store.put(make_object(KEY))
    assert "AKID" not in str(caught.value)
    assert server.connections <= 1


async def test_idle_connections_are_nobodys_error(server: FaultServer, tmp_path: Path) -> None:
    """A server that closes them delays no slice, and no 1006 tells of it."""
    server.hangs_up_on_reuse = True
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site = Site(tmp_path / "data", server.url, receiver.url)
        async with site.open() as delivery:
            await delivery.open(TASK, BUCKET)
            for n in range(5):
                delivery.put(PICTURE, START_MS + 5000 * n, b"png", {})
                await receiver.wait_for_type(1004, count=n + 1)
            assert delivery.uploader.counters.failed_attempts == 0
        assert receiver.of_type(1006) == []
    assert len(server.objects) == 5


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        pytest.param("http://127.0.0.1:9", "Connection refused", id="nobody listens"),
        pytest.param("https://127.0.0.1:9", "Connection refused", id="nobody listens, TLS"),
        pytest.param("http://store.invalid", "Name or service not known", id="no such host"),
    ],
)
async def test_a_store_that_is_not_there(endpoint: str, reason: str, item: StoredObject) -> None:
    async with opened(BUCKET, make_settings(endpoint)) as store:
        with pytest.raises(StorageError) as caught:
            await store.put(item)
    assert str(caught.value) == f"ConnectionFailed: The store cannot be reached: {reason}."
