"""A cluster of real processes: NATS, nodes that take calls, workers."""

import asyncio
import base64
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from helpers.nats_server import NatsServer
from helpers.node import Node
from helpers.webhooks import WebhookReceiver

ENCRYPTION_KEY = base64.b64encode(bytes(range(32))).decode()


class Cluster:
    """Its processes are gone when `stack` is left.

    Args:
        stack: in which they run.
        directory: for their data.
        callback_url: of the app's webhooks; which node sends one, its query tells (``node``).
        app_settings: see `Node`.
        more_settings: see `Node`.
        nats_url: of servers that are there; without it, one of its own is started.

    Attributes:
        nats: that server.
    """

    def __init__(
        self,
        stack: AsyncExitStack,
        directory: Path,
        callback_url: str,
        *,
        app_settings: str,
        more_settings: str = "",
        nats_url: str = "",
    ) -> None:
        self.nats = NatsServer(directory / "nats")
        if not nats_url:
            stack.enter_context(self.nats)
        self.nats_url = nats_url or self.nats.url
        self.workers: dict[str, Node] = {}
        self._stack = stack
        self._directory = directory
        self._callback_url = callback_url
        self._app_settings = app_settings
        self._more_settings = more_settings

    async def start_api(self, name: str = "api") -> Node:
        """A node that takes calls, ready."""
        return await self._start(name, "api")

    async def start_worker(
        self, name: str, *, nats_url: str = "", app_settings: str = "", more_settings: str = ""
    ) -> Node:
        """A worker, ready; with ways of its own to other servers, if it is given such."""
        worker = self.workers[name] = await self._start(
            name, "worker", nats_url, app_settings, more_settings
        )
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

    async def _start(
        self,
        name: str,
        role: str,
        nats_url: str = "",
        app_settings: str = "",
        more_settings: str = "",
    ) -> Node:
        node = self._stack.enter_context(
            Node(
                self._directory / name,
                f"{self._callback_url}&node={name}",
                app_settings=app_settings or self._app_settings,
                more_settings=more_settings or self._more_settings,
                top_settings=f'encryption_key = "{ENCRYPTION_KEY}"',
                command=("-m", "cloudslice", role, "--nats", nats_url or self.nats_url),
            )
        )
        await asyncio.to_thread(node.start)
        return node


def slice_files(receiver: WebhookReceiver, task_id: str, media_type: int) -> list[dict[str, Any]]:
    """The payloads of events 1004, in the order of what they tell of."""
    payloads = [
        event["EventInfo"]["Payload"]
        for event in receiver.of_task(task_id)
        if event["EventType"] == 1004
    ]
    found = [each for each in payloads if each["MediaType"] == media_type]
    return sorted(found, key=lambda each: int(each["StartTimeStamp"]))
