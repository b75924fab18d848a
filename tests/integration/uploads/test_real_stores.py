"""Uploads to S3 servers that others wrote, read back by a client that others wrote."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.objects import StoredObject
from cloudslice.uploads.storage_errors import StorageError
from helpers.s3_server import BucketObject, S3Server
from helpers.stores import make_object, make_settings, opened
from helpers.versity_server import PROGRAM, VersityServer

KEY = "p/9+a../u/audios/1_a b?#%&+~[]{}^|<>:;!$()=@,._é_20231114221321.ogg"
METADATA = {"start-ms": "5", "sha256": "0" * 64}


@dataclass(frozen=True)
class Server:
    """A server with a bucket."""

    server: S3Server | VersityServer
    bucket: Bucket

    def get(self, key: str) -> BucketObject:
        return self.server.get(self.bucket.name, key)


@pytest.fixture(scope="module")
def seaweed(s3_server: S3Server) -> Server:
    keys = s3_server.access_key, s3_server.secret_key
    return Server(s3_server, Bucket(Vendor.S3, "eu-test-1", s3_server.new_bucket(), *keys))


@pytest.fixture(scope="module")
def versity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Stricter than SeaweedFS: it compares the region, and SHA-256 with the body."""
    if not PROGRAM.exists():
        pytest.skip("versitygw is not there: run scripts/install-test-tools where Go is")
    server = VersityServer(tmp_path_factory.mktemp("versity"))
    server.start()
    server.create_bucket("demo-1250000000")
    keys = server.access_key, server.secret_key
    yield Server(server, Bucket(Vendor.S3, server.region, "demo-1250000000", *keys))
    server.stop()


@pytest.fixture(params=["seaweed", "versity"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("checksum", ["Content-MD5", "x-amz-checksum-sha256", "none"])
async def test_an_object_is_what_was_put(server: Server, checksum: str) -> None:
    settings = make_settings(server.server.url, checksum=checksum)
    item = make_object(f"{KEY}.{checksum}", b"content" * 10_000, METADATA)
    async with opened(server.bucket, settings) as store:
        for _ in range(2):
            await store.put(item)
    found = server.get(item.key)
    assert (found.data, found.content_type) == (item.content.data, "audio/ogg")
    assert METADATA.items() <= found.metadata.items()


async def test_a_large_object_is_what_was_put(server: Server) -> None:
    item = make_object("large", bytes(range(256)) * 40_000)
    async with opened(server.bucket, make_settings(server.server.url)) as store:
        await store.put(item)
    assert server.get("large").data == item.content.data


async def test_virtual_hosts(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reached through a proxy, which is the server itself: their names do not resolve."""
    monkeypatch.setenv("http_proxy", server.server.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    item = make_object(f"virtual/{KEY}")
    async with opened(server.bucket, make_settings(server.server.virtual_url)) as store:
        await store.put(item)
    assert server.get(item.key).data == item.content.data


async def fail(server: Server, settings: StorageSettings, item: StoredObject) -> StorageError:
    """The error of an upload; nothing is stored."""
    async with opened(server.bucket, settings) as store:
        with pytest.raises(StorageError) as caught:
            await store.put(item)
    with pytest.raises(FileNotFoundError):
        server.get(item.key)
    return caught.value


async def test_what_was_damaged_on_its_way_is_not_kept(server: Server) -> None:
    """By the store, which compares Content-MD5."""
    item = make_object("damaged")
    item = replace(item, content=replace(item.content, md5=bytes(16)))
    error = await fail(server, make_settings(server.server.url), item)
    assert (error.status, error.code) == (400, "BadDigest")


async def test_the_signed_hash_serves_for_that_too(versity: Server) -> None:
    """Not at every store: SeaweedFS does not compare it."""
    item = make_object("damaged")
    item = replace(item, content=replace(item.content, sha256="0" * 64))
    error = await fail(versity, make_settings(versity.server.url, checksum="none"), item)
    assert (error.status, error.code) == (400, "XAmzContentSHA256Mismatch")


async def test_a_wrong_key_is_refused_in_the_stores_words(server: Server) -> None:
    server = replace(server, bucket=replace(server.bucket, secret_key="WrongSecretExample"))
    error = await fail(server, make_settings(server.server.url), make_object("k"))
    assert (error.status, error.code, error.refused) == (403, "SignatureDoesNotMatch", True)
    assert server.bucket.access_key not in str(error)


async def test_a_strict_store_names_its_region(versity: Server) -> None:
    server = replace(versity, bucket=replace(versity.bucket, region="us-east-1"))
    error = await fail(server, make_settings(server.server.url), make_object("k"))
    assert (error.status, error.refused) == (400, True)
    assert versity.bucket.region in str(error)
