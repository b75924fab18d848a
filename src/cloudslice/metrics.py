"""What /metrics says (Prometheus): read from the parts' plain counters when it is asked for, so
that counting costs a packet nothing more than an addition."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Protocol

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from cloudslice import __version__
from cloudslice.bus import Bus
from cloudslice.database import Database
from cloudslice.faults import Faults
from cloudslice.recent import Recent
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.spool.spool import Spool
from cloudslice.steady_clock import SteadyClock
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tasks.worker import Worker
from cloudslice.tick import Tick
from cloudslice.uploads.losses import Losses
from cloudslice.uploads.uploader import Uploader
from cloudslice.webhooks.attempts import CallbackCounters
from cloudslice.webrtc.udp.media_ports import MediaPorts

_COUNT_EVERY_S = 1.0
"""Counting takes the database's one writer, so that scrapes must not come between commits often."""
_OF_SOME_ROOMS = {"not_decrypted": 0}
"""Counts of media that only rooms of some kinds have: there from the start in all nodes."""

Metric = CounterMetricFamily | GaugeMetricFamily


class CountedWebhooks(Protocol):
    """Webhooks, as their counters show them."""

    @property
    def counters(self) -> CallbackCounters:
        """What has become of webhooks since the start."""
        ...

    @property
    def faults(self) -> Faults:
        """Errors that nobody foresaw."""
        ...

    async def count_waiting(self) -> int:
        """How many events wait here for their delivery."""
        ...


@dataclass(frozen=True, slots=True)
class DeliveryParts:
    """The parts between slicing and those who get the slices."""

    database: Database
    clock: SteadyClock
    events: Bus
    spool: Spool
    uploads: Uploader
    losses: Losses
    webhooks: CountedWebhooks

    def count_faults(self) -> dict[str, int]:
        """Errors that nobody foresaw, by the part that met them."""
        return {each.name: getattr(self, each.name).faults.errors for each in fields(self)}


class CountedRooms(Protocol):
    """The rooms of one kind, as their counters show them."""

    faults: Faults

    @property
    def anchor_count(self) -> int:
        """Anchors in all rooms."""
        ...

    @property
    def states(self) -> Mapping[str, int]:
        """Connections to rooms that are elsewhere, by their state."""
        ...

    def media_counts(self) -> Mapping[str, int]:
        """What was received and dropped, by a name that says it."""
        ...


class NodeMetrics(Collector):
    """The metrics of one node, and the endpoint that renders them."""

    def __init__(
        self,
        worker: Worker,
        rooms: Mapping[str, CountedRooms],
        ports: MediaPorts,
        pictures: PicturePool,
        delivery: DeliveryParts,
        tick: Tick,
        auto_tasks: AutoTasks | None = None,
        more: Iterable[Collector] = (),
    ) -> None:
        """Takes the parts, and what tells of others."""
        self._worker = worker
        self._auto_tasks = auto_tasks
        self._rooms = rooms
        self._ports = ports
        self._delivery = delivery
        self._pictures = pictures
        self._tick = tick
        self._waiting = {"slices": 0, "events": 0}
        self._webhooks_waiting = Recent(delivery.webhooks.count_waiting, _COUNT_EVERY_S)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        for each in more:
            self._registry.register(each)
        ProcessCollector(registry=self._registry)

    async def endpoint(self, _request: Request) -> Response:
        """GET /metrics."""
        self._waiting = {
            "slices": self._delivery.uploads.count_waiting(),
            "events": await self._webhooks_waiting.get(),
        }
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Metric]:
        yield gauge("cloudslice_info", "The running version.", "version", {__version__: 1})
        yield gauge(
            "cloudslice_tasks",
            "Unfinished tasks.",
            "status",
            {status.value: n for status, n in self._worker.count_by_status().items()},
        )
        if self._auto_tasks is not None:
            yield auto_task_counter(self._auto_tasks.counts)
        yield from self._collect_rooms()
        slicing = self._worker.counters
        yield counter(
            "cloudslice_slicing",
            "What robots have made and left out.",
            "what",
            {each.name: getattr(slicing, each.name) for each in fields(slicing)},
        )
        processes = self._pictures.counters
        yield counter(
            "cloudslice_picture_processes",
            "What has become of the processes that make pictures.",
            "what",
            {each.name: getattr(processes, each.name) for each in fields(processes)},
        )
        yield counter(
            "cloudslice_faults",
            "Errors that nobody foresaw.",
            "part",
            {
                "tasks": self._worker.faults.errors,
                "auto_tasks": self._auto_tasks.faults.errors if self._auto_tasks else 0,
                "rooms": sum(rooms.faults.errors for rooms in self._rooms.values()),
                "pictures": self._pictures.faults.errors,
                "tick": self._tick.faults.errors,
            }
            | self._delivery.count_faults(),
        )
        yield from self._collect_delivery()

    def _collect_rooms(self) -> Iterator[Metric]:
        yield gauge(
            "cloudslice_anchors",
            "Anchors in rooms.",
            "rooms",
            {kind: rooms.anchor_count for kind, rooms in self._rooms.items()},
        )
        yield gauge(
            "cloudslice_room_connections",
            "Connections to rooms of other servers.",
            "state",
            _total(rooms.states for rooms in self._rooms.values()),
        )
        yield counter(
            "cloudslice_datagrams",
            "Datagrams of the media ports.",
            "what",
            self._ports.counts | {"failed": self._ports.errors},
        )
        yield counter(
            "cloudslice_media",
            "What anchors' media has come to.",
            "what",
            _total([_OF_SOME_ROOMS, *(each.media_counts() for each in self._rooms.values())]),
        )

    def _collect_delivery(self) -> Iterator[Metric]:
        yield gauge("cloudslice_waiting", "What waits for its delivery.", "what", self._waiting)
        uploads, callbacks = self._delivery.uploads.counters, self._delivery.webhooks.counters
        yield counter(
            "cloudslice_uploads",
            "What has become of slices.",
            "what",
            {each.name: getattr(uploads, each.name) for each in fields(uploads)}
            | {
                "lost": self._delivery.losses.count,
                "set_aside": self._delivery.spool.files_set_aside,
            },
        )
        yield counter(
            "cloudslice_callbacks",
            "What has become of webhooks.",
            "what",
            {each.name: getattr(callbacks, each.name) for each in fields(callbacks)},
        )
        yield GaugeMetricFamily(
            "cloudslice_spool_bytes", "Bytes in the spool.", value=self._delivery.spool.used_bytes
        )


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    """All of them together, those that are 0 too."""
    total = Counter[str]()
    for each in counts:
        total.update(each)
    return total


def gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """A metric that goes up and down, with a value for each of a label's."""
    metric = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)
    return metric


def auto_task_counter(counts: Mapping[str, int]) -> Metric:
    """Of the tasks of rules."""
    return counter(
        "cloudslice_auto_tasks",
        "Tasks that have begun and ended with their rooms.",
        "what",
        counts,
    )


def counter(name: str, text: str, label: str, values: Mapping[str, int]) -> CounterMetricFamily:
    """A metric that only goes up, with a value for each of a label's."""
    metric = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)
    return metric
