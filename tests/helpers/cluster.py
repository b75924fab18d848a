"""A cluster of real processes: NATS, nodes that take calls, workers."""

import asyncio
import base64
from contextlib import AsyncExitStack
from pathlib import Path

from helpers.nats_server import NatsServer
from helpers.node import Node

ENCRYPTION_KEY = base64.b64encode(bytes(range(32))).decode()


class Cluster:
    """Its processes are gone when `stack` is left.

    Args:
        stack: in which they run.
        directory: for their data.
        callback_url: of the app's webhooks.
        app_settings: see `Node`.
        more_settings: see `Node`.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        directory: Path,
        callback_url: str,
        *,
        app_settings: str,
        more_settings: str = "",
    ) -> None:
        self.nats = stack.enter_context(NatsServer(directory / "nats"))
        self.workers: dict[str, Node] = {}
        self._stack = stack
        self._directory = directory
        self._callback_url = callback_url
        self._app_settings = app_settings
        self._more_settings = more_settings

    async def start_api(self, name: str = "api") -> Node:
        """A node that takes calls, ready."""
        return await self._start(name, "api")

    async def start_worker(self, name: str) -> Node:
        """A worker, ready."""
        worker = self.workers[name] = await self._start(name, "worker")
        return worker

    def owners(self) -> list[str]:
        """The workers that have rooms, as they say."""
        return [
            name
            for name, worker in self.workers.items()
            if worker.is_running and worker.metric("cloudslice_cluster_own", what="rooms") > 0
        ]

    async def wait_slicing(self, name: str, within_s: float = 20) -> None:
        """Wait until a worker slices a task."""
        await self.workers[name].wait_for_metric(
            1, "cloudslice_tasks", within_s=within_s, status="InProgress"
        )

    async def _start(self, name: str, role: str) -> Node:
        node = self._stack.enter_context(
            Node(
                self._directory / name,
                self._callback_url,
                app_settings=self._app_settings,
                more_settings=self._more_settings,
                top_settings=f'encryption_key = "{ENCRYPTION_KEY}"',
                command=("-m", "cloudslice", role, "--nats", self.nats.url),
            )
        )
        await asyncio.to_thread(node.start)
        return node
