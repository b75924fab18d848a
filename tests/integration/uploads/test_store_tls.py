"""Stores with certificates of a private authority."""

import asyncio
from pathlib import Path

import pytest

from cloudslice.uploads.storage_errors import StorageError
from helpers.certificates import PrivateAuthority
from helpers.delivery import make_test_bucket
from helpers.fault_server import FaultServer
from helpers.stores import make_object, make_settings, opened

BUCKET = make_test_bucket()
NO = "ConnectionFailed: The store cannot be reached: "


@pytest.fixture
def authority(tmp_path: Path) -> PrivateAuthority:
    return PrivateAuthority(tmp_path)


async def fail(endpoint: str, ca_file: str) -> str:
    async with opened(BUCKET, make_settings(endpoint, ca_file=ca_file)) as store:
        with pytest.raises(StorageError) as caught:
            await store.put(make_object("k"))
    assert not caught.value.refused
    return str(caught.value)


async def test_its_certificate_is_a_setting(authority: PrivateAuthority) -> None:
    """Connections are kept, and replaced when they die, as without TLS."""
    async with FaultServer(tls=authority.issue("127.0.0.1")) as server:
        settings = make_settings(server.url, ca_file=str(authority.file))
        async with opened(BUCKET, settings) as store:
            await asyncio.gather(*(store.put(make_object(f"{n}")) for n in range(3)))
            await store.put(make_object("3", bytes(5_000_000)))
            assert server.connections == 3
            server.hangs_up_on_reuse = True
            await store.put(make_object("4"))
    assert len(server.objects) == 5


async def test_without_it_the_reason_is_told(authority: PrivateAuthority) -> None:
    async with FaultServer(tls=authority.issue("127.0.0.1")) as server:
        told = await fail(server.url, "")
    assert told == f"{NO}certificate verify failed: unable to get local issuer certificate."


async def test_another_authority_is_not_believed(
    authority: PrivateAuthority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = PrivateAuthority(tmp_path / "other", "Other CA")
    async with FaultServer(tls=authority.issue("127.0.0.1")) as server:
        told = await fail(server.url, str(other.file))
    assert told.startswith(f"{NO}certificate verify failed: ")


async def test_a_certificate_of_another_host(authority: PrivateAuthority) -> None:
    async with FaultServer(tls=authority.issue("127.0.0.2")) as server:
        told = await fail(server.url, str(authority.file))
    assert told == (
        f"{NO}certificate verify failed: IP address mismatch, "
        "certificate is not valid for '127.0.0.1'."
    )


async def test_a_store_that_speaks_no_tls() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        told = await fail(f"https://127.0.0.1:{port}", "")
    assert told.startswith(f"{NO}TLS: ")


async def test_a_file_that_has_gone_is_told(authority: PrivateAuthority) -> None:
    """Settings are read at start, certificates with the first upload."""
    settings = make_settings("https://127.0.0.1:9", ca_file=str(authority.file))
    authority.file.unlink()
    with pytest.raises(StorageError, match=r"^InvalidCaFile: The CA file .* cannot be read: No "):
        async with opened(BUCKET, settings):
            pass
