"""Three real NATS servers that are one: what a cluster of more than one machine is run with."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from helpers.nats_server import NatsServer, free_port

SIZE = 3
_READY_S = 90
_POLL_S = 0.1


class NatsCluster:
    """The servers, which write to the disk before they acknowledge (``sync_interval: always``).

    Attributes:
        servers: can be killed and started one by one; see `nats_cluster`.
    """

    def __init__(self, directory: Path) -> None:
        self._monitors = [free_port() for _ in range(SIZE)]
        routes = [free_port() for _ in range(SIZE)]
        peers = ", ".join(f"nats://127.0.0.1:{port}" for port in routes)
        self.servers = [
            NatsServer(
                directory / f"nats{number}",
                jetstream_more="sync_interval: always",
                more=f"""\
server_name: nats{number}
http: 127.0.0.1:{monitor}
cluster {{ name: test, listen: 127.0.0.1:{route}, routes: [{peers}] }}""",
            )
            for number, (monitor, route) in enumerate(zip(self._monitors, routes, strict=True))
        ]

    @property
    def url(self) -> str:
        """For a client."""
        return ",".join(server.url for server in self.servers)

    async def start(self) -> None:
        """Start those that do not run, and wait until all of them are up to date."""
        await asyncio.gather(
            *(asyncio.to_thread(each.start) for each in self.servers if not each.is_running)
        )
        await self.wait_ready()

    async def restart(self, number: int) -> None:
        """Kill one and start it again; until it is up to date."""
        await asyncio.to_thread(self.servers[number].kill)
        await self.start()

    async def wait_ready(self) -> None:
        """Wait until those that run have their streams, with a leader each."""
        await asyncio.to_thread(self._wait_ready)

    async def leader(self, stream: str) -> int:
        """Which server leads a stream."""
        return await asyncio.to_thread(self._leader, stream)

    def kill(self) -> None:
        """All of them."""
        for server in self.servers:
            server.kill()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_S
        while not all(map(self._is_ready, self._running())):
            if time.monotonic() > deadline:
                raise RuntimeError("the NATS servers do not find each other")
            time.sleep(_POLL_S)

    def _leader(self, stream: str) -> int:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            for number in self._running():
                answer = _ask(self._monitors[number], "jsz?accounts=true&streams=true") or {}
                for account in answer.get("account_details", ()):
                    for each in account.get("stream_detail", ()):
                        # The others may still name one that is gone.
                        leader = each.get("cluster", {}).get("leader", "")
                        if each["name"] == stream and leader == f"nats{number}":
                            return number
            time.sleep(_POLL_S)
        raise RuntimeError(f"{stream} has no leader")

    def _running(self) -> list[int]:
        return [number for number, each in enumerate(self.servers) if each.is_running]

    def _is_ready(self, number: int) -> bool:
        monitor = self._monitors[number]
        # A server that has just begun may call itself healthy before there is a leader.
        has_leader = (_ask(monitor, "jsz") or {}).get("meta_cluster", {}).get("leader")
        return bool(has_leader) and (_ask(monitor, "healthz") or {}).get("status") == "ok"


def _ask(port: int, path: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
        found: dict[str, Any] = json.load(answer)
        return found
    return None


@contextlib.asynccontextmanager
async def nats_cluster(directory: Path) -> AsyncIterator[NatsCluster]:
    """Three servers that run and know each other."""
    cluster = NatsCluster(directory)
    try:
        await cluster.start()
        yield cluster
    finally:
        cluster.kill()
