"""The registry of a cluster, on a real NATS server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
from nats.aio.client import Client

from cloudslice.cluster.registry import ConflictError, Entry, Registry, RegistryError
from cloudslice.cluster.registry_opening import open_registry
from helpers.nats_cluster import SIZE, NatsCluster
from helpers.nats_server import NatsServer, OldNats
from helpers.waiting import eventually


@pytest.fixture
def server(tmp_path: Path) -> NatsServer:
    return NatsServer(tmp_path / "nats")


@pytest.fixture
async def registry(server: NatsServer) -> AsyncIterator[Registry]:
    with server:
        async with open_registry(server.url, name="test") as opened:
            yield opened


async def test_a_key_is_changed_by_who_knows_its_revision(registry: Registry) -> None:
    first = await registry.create("a.b", b"1")
    with pytest.raises(ConflictError):
        await registry.create("a.b", b"2")
    second = await registry.update("a.b", b"2", first)
    with pytest.raises(ConflictError):
        await registry.update("a.b", b"3", first)
    with pytest.raises(ConflictError):
        await registry.delete("a.b", first)
    assert await registry.get("a.b") == Entry("a.b", b"2", second)


async def test_a_key_that_was_deleted_can_be_made_anew(registry: Registry) -> None:
    await registry.delete("a.b", await registry.create("a.b", b"1"))
    assert await registry.get("a.b") is None
    revision = await registry.create("a.b", b"2")
    assert await registry.get("a.b") == Entry("a.b", b"2", revision)


async def test_a_key_is_found_by_a_part_of_its_name(registry: Registry) -> None:
    assert await registry.find("task.*.x") is None
    await registry.create("task.1.y", b"1")
    revision = await registry.create("task.2.x", b"2")
    await registry.create("task.3.z", b"3")
    assert await registry.find("task.*.x") == Entry("task.2.x", b"2", revision)


async def test_those_who_watch_hear_of_the_end_of_a_key_at_once(registry: Registry) -> None:
    """And who keeps it, by changing it, keeps it."""
    revision = await registry.create("lease", b"1", ttl_s=2)
    async with aclosing(registry.changes(quiet_s=10)) as changes:
        assert await anext(changes) == Entry("lease", b"1", revision)
        assert await anext(changes) is None
        await asyncio.sleep(1.2)  # it would be gone before two more seconds
        kept_at = time.monotonic()
        kept = await registry.update("lease", b"2", revision, ttl_s=2)
        assert await anext(changes) == Entry("lease", b"2", kept)
        gone = await anext(changes)
        assert gone is not None
        assert (gone.key, gone.value) == ("lease", b"")
        assert 1.5 < time.monotonic() - kept_at < 6
    assert await registry.get("lease") is None
    await registry.create("lease", b"3", ttl_s=2)


async def test_all_that_is_there_comes_first(registry: Registry) -> None:
    """Also where messages come before the answer about their consumer: that is a race."""
    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(registry.create(f"a.{number}", b"1"))
    for _ in range(30):
        there = []
        async with aclosing(registry.changes(quiet_s=10)) as changes:
            while (entry := await anext(changes)) is not None:
                there.append(entry.key)
        assert sorted(there) == sorted(f"a.{number}" for number in range(20))


async def test_who_misses_a_change_is_told(registry: Registry, server: NatsServer) -> None:
    """And who hears of none, as there is none, is not."""
    client = Client()
    await client.connect(server.url)
    stream = client.jetstream()
    async with aclosing(registry.changes(quiet_s=0.2)) as changes:
        assert await anext(changes) is None
        following = asyncio.ensure_future(anext(changes))
        await asyncio.wait([following], timeout=1)
        assert not following.done()
        (consumer,) = await stream.consumers_info("KV_cloudslice")
        await stream.delete_consumer("KV_cloudslice", consumer.name)
        await registry.create("a", b"1")
        with pytest.raises(RegistryError, match="not told of all changes"):
            await following
    await client.close()


async def test_without_a_server_there_is_an_error_at_once_and_then_it_goes_on(
    registry: Registry, server: NatsServer
) -> None:
    await registry.create("a", b"1")
    await asyncio.to_thread(server.kill)
    await eventually(lambda: not registry.is_connected)
    with pytest.raises(RegistryError, match="no connection"):
        await registry.get("a")
    await asyncio.to_thread(server.start)
    await eventually(lambda: registry.is_connected)
    found = await registry.get("a")
    assert found is not None
    assert found.value == b"1"


async def test_a_server_that_is_too_old_is_refused() -> None:
    async with OldNats("2.10.29") as old:
        with pytest.raises(RegistryError, match=r"this is NATS 2\.10\.29; .* needs NATS 2\.11 or"):
            async with open_registry(old.url, name="test"):
                pass


async def test_a_server_without_jetstream_is_refused(tmp_path: Path) -> None:
    with (
        NatsServer(tmp_path / "nats", jetstream=False) as server,
        pytest.raises(RegistryError, match="no JetStream"),
    ):
        async with open_registry(server.url, name="test"):
            pass


async def test_servers_that_are_about_to_elect_a_leader_are_waited_for(tmp_path: Path) -> None:
    """As when all machines of a cluster start at once."""
    cluster = NatsCluster(tmp_path)

    async def use() -> int:
        async with open_registry(cluster.url, name="test", replicas=SIZE) as registry:
            return await registry.create("node.a", b"is there")

    try:
        await asyncio.to_thread(cluster.servers[0].start)
        using = asyncio.create_task(use())
        await asyncio.wait([using], timeout=3)  # one of three elects nobody
        assert not using.done()
        await cluster.start()
        assert await using > 0
    finally:
        cluster.kill()


async def test_where_no_server_is_the_error_names_the_address(unused_tcp_port: int) -> None:
    with pytest.raises(RegistryError, match=f"127.0.0.1:{unused_tcp_port}: no NATS server"):
        async with open_registry(f"nats://127.0.0.1:{unused_tcp_port}", name="test"):
            pass


async def test_a_wrong_password_is_told_and_no_password_is_shown(tmp_path: Path) -> None:
    users = 'authorization { user: "node", password: "TOPSECRET" }'
    with NatsServer(tmp_path / "nats", more=users) as server:
        address = f"127.0.0.1:{server.port}"
        async with open_registry(f"nats://node:TOPSECRET@{address}", name="test") as registry:
            assert await registry.create("a", b"1") > 0
        with pytest.raises(RegistryError) as refused:
            async with open_registry(f"nats://node:WR@NG@{address}", name="test"):
                pass
    assert f"nats://{address}: " in str(refused.value)
    assert "Authorization Violation" in str(refused.value)
    assert "WR" not in str(refused.value)
