"""docs/operations.md explains every metric that there is, and each promise names its test."""

import re
from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import cast

import pytest

from cloudslice.bus import Bus
from cloudslice.clock import SystemClock
from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.metrics import DeliveryParts, NodeMetrics
from cloudslice.rooms.remote.remote_room import RoomState
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.pictures.pool import PicturePool, PictureProcessCounters
from cloudslice.spool.spool import Spool
from cloudslice.steady_clock import SteadyClock
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tasks.model import TaskService, TaskStatus
from cloudslice.tasks.worker import Worker
from cloudslice.tick import Tick
from cloudslice.uploads.losses import Losses
from cloudslice.uploads.shared import UploadCounters
from cloudslice.uploads.uploader import Uploader
from cloudslice.webhooks.attempts import CallbackCounters
from cloudslice.webhooks.webhooks import Webhooks
from cloudslice.webrtc.udp.media_ports import MediaPorts
from helpers.meeting import meeting

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


@dataclass
class IdleNode:
    """What metrics ask of all parts of a node at rest."""

    counts: Counter[str] = field(default_factory=lambda: Counter(received=0, foreign=0, unsent=0))
    errors: int = 0
    anchor_count: int = 0
    states: Counter[str] = field(
        default_factory=lambda: Counter({state.value: 0 for state in RoomState})
    )
    counters: PictureProcessCounters = field(default_factory=PictureProcessCounters)
    faults: Faults = field(default_factory=lambda: Faults("test"))

    def media_counts(self) -> Counter[str]:
        with meeting() as met:
            return met.connection.counts

    def count_by_status(self) -> dict[TaskStatus, int]:
        return dict.fromkeys(TaskStatus, 0)


@dataclass
class IdleWorker(IdleNode):
    """What metrics ask of the worker."""

    counters: SlicingCounters = field(default_factory=SlicingCounters)  # type: ignore[assignment]


@dataclass
class IdleDelivery:
    """What metrics ask of the parts of delivery, but for what has become of slices or webhooks."""

    counters: UploadCounters | CallbackCounters
    count: int = 0
    files_set_aside: int = 0
    used_bytes: int = 0
    faults: Faults = field(default_factory=lambda: Faults("spool"))

    async def count_waiting(self) -> int:
        return 0


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """The values of the label `what` (`status`, `rooms`) by the metric's name."""
    node, uploads = IdleNode(), IdleDelivery(UploadCounters())
    delivery = DeliveryParts(
        cast(Database, node),
        cast(SteadyClock, node),
        cast(Bus, node),
        cast(Spool, uploads),
        cast(Uploader, uploads),
        cast(Losses, uploads),
        cast(Webhooks, IdleDelivery(CallbackCounters())),
    )
    metrics = NodeMetrics(
        cast(Worker, IdleWorker()),
        {"builtin": node, "livekit": node, "janus": node},
        cast(MediaPorts, node),
        cast(PicturePool, node),
        delivery,
        cast(Tick, node),
        AutoTasks([], cast(TaskService, node), list, cast(Bus, node), SystemClock()),
    )
    names: dict[str, set[str]] = {}
    for family in metrics.collect():
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels.values())
    return names


def rows(first: str) -> dict[str, str]:
    """First cell and the rest of each row of the table whose head begins with `first`."""
    table = re.search(rf"^\| {re.escape(first)}.*\n\| ---.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table is not None
    cells = (line.strip("| ").split(" | ", 1) for line in table[1].splitlines())
    return {name.strip("` "): rest for name, rest in cells}


def test_every_metric_is_in_the_table(exported: dict[str, set[str]]) -> None:
    assert set(rows("metric |")) - {"process_..."} == set(exported)


@pytest.mark.parametrize(
    ("metric", "counters", "more"),
    [
        pytest.param("cloudslice_slicing_total", SlicingCounters, set(), id="slicing"),
        pytest.param(
            "cloudslice_uploads_total", UploadCounters, {"lost", "set_aside"}, id="uploads"
        ),
    ],
)
def test_every_count_has_its_row(
    exported: dict[str, set[str]], metric: str, counters: type, more: set[str]
) -> None:
    explained = set(rows(f"`{metric}`"))
    assert explained == exported[metric] == {each.name for each in fields(counters)} | more


def test_every_count_of_media_has_its_row(exported: dict[str, set[str]]) -> None:
    assert set(rows("`cloudslice_media_total`")) == exported["cloudslice_media_total"]


@pytest.mark.parametrize(
    "metric",
    [
        "cloudslice_tasks",
        "cloudslice_anchors",
        "cloudslice_picture_processes_total",
        "cloudslice_datagrams_total",
        "cloudslice_waiting",
        "cloudslice_faults_total",
        "cloudslice_callbacks_total",
    ],
)
def test_every_label_is_named(exported: dict[str, set[str]], metric: str) -> None:
    labels = rows("metric |")[metric].partition(" | ")[0]
    assert set(re.findall(r"`(\w+)`", labels.partition(":")[2])) == exported[metric]


TESTS = Path(__file__).parents[1]


def find_proofs(text: str) -> list[tuple[str, str]]:
    """The tests that a text names: file and function."""
    return re.findall(r"`tests/([\w/]+\.py)::(\w+)`", text)


@pytest.mark.parametrize("table", ["event | what is lost |", "row of |"])
def test_each_promise_names_the_test_that_proves_it(table: str) -> None:
    for promise, rest in rows(table).items():
        assert find_proofs(rest.rpartition(" | ")[2]), promise


def test_each_test_that_is_named_is_there() -> None:
    for file, name in find_proofs(PAGE):
        text = (TESTS / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE), f"{file}::{name}"
