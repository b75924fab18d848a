"""Nodes' deliveries in a cluster, and a task with a real bucket."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.tasks.store import StoredTask
from helpers.cluster_side import ClusterSide, OpenSide
from helpers.nats_server import NatsServer
from helpers.s3_server import S3Server
from helpers.task_stores import TASK


@pytest.fixture
async def open_delivery_side(tmp_path: Path, s3_server: S3Server) -> AsyncIterator[OpenSide]:
    """Opens the delivery of a node of that name."""
    sides: list[ClusterSide] = []
    with NatsServer(tmp_path / "nats") as nats:

        async def open_one(name: str) -> ClusterSide:
            sides.append(ClusterSide(name, tmp_path, nats.url, s3_server.port))
            return await sides[-1].start()

        yield open_one
        for each in sides:
            await each.stop()


@pytest.fixture
def task(s3_server: S3Server) -> StoredTask:
    """A task that nobody has created, with a bucket of its own."""
    bucket = replace(
        TASK.bucket,
        name=s3_server.new_bucket(),
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
    )
    return replace(TASK, bucket=bucket)
