"""A start after an outage that has left many tasks and slices behind."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from cloudslice import node
from cloudslice.config import Settings
from cloudslice.ids import ObjectName
from cloudslice.node import open_node
from cloudslice.slices import SliceKind
from cloudslice.webrtc.udp.port import UdpPort
from helpers.left_behind import LeftBehind, leave_behind
from helpers.waiting import eventually

AMOUNT = LeftBehind(tasks=25, waiting=20)


async def read_metrics(app: Starlette) -> dict[str, float]:
    """What /metrics says, by a metric's name and labels."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as client:
        lines = (await client.get("/metrics")).text.splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


async def test_a_start_takes_everything_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks go on; all slices are delivered, also those that grew, repaired."""
    bucket = tmp_path / "stored"
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "apps": [{"sdk_app_id": 1400000000, "secret_key": "x" * 64}],
            "storage": {"endpoints": {"s3": f"file://{bucket}"}},
        }
    )
    await leave_behind(settings, AMOUNT)
    monkeypatch.setattr(node, "UdpPort", lambda _udp_port, *given: UdpPort(0, *given))
    async with open_node(settings) as opened:
        total = AMOUNT.tasks * (AMOUNT.waiting + 1)
        await eventually(lambda: len(list((settings.data_dir / "spool").rglob("*.slice"))) == 0)
        metrics = await read_metrics(opened.app)
        assert metrics['cloudslice_tasks{status="Idle"}'] == AMOUNT.tasks
        assert metrics['cloudslice_uploads_total{what="stored"}'] == total
    files = [path for path in bucket.rglob("*") if path.is_file()]
    names = [ObjectName.from_key(str(path.relative_to(bucket / "bucket"))) for path in files]
    kinds = [name.kind for name in names]
    assert kinds.count(SliceKind.IMAGE) == AMOUNT.tasks * AMOUNT.waiting
    assert kinds.count(SliceKind.AUDIO) == AMOUNT.tasks
    assert len({name.task_id for name in names}) == AMOUNT.tasks
