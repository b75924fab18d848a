"""What /metrics says (Prometheus): read from the parts' plain counters when it is asked for, so
that counting costs a packet nothing more than an addition."""

from collections.abc import Iterator
from dataclasses import fields

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from cloudslice import __version__
from cloudslice.delivery.service import Delivery
from cloudslice.recent import Recent
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.tasks.supervisor import Supervisor
from cloudslice.tick import Tick
from cloudslice.webrtc.udp.port import UdpPort

_COUNT_EVERY_S = 1.0
"""Counting takes the database's one writer, so that scrapes must not come between commits often."""

Metric = CounterMetricFamily | GaugeMetricFamily


class NodeMetrics(Collector):
    """The metrics of one node, and the endpoint that renders them."""

    def __init__(
        self,
        supervisor: Supervisor,
        rooms: BuiltinRooms,
        port: UdpPort,
        pictures: PicturePool,
        delivery: Delivery,
        tick: Tick,
    ) -> None:
        self._supervisor = supervisor
        self._rooms = rooms
        self._port = port
        self._delivery = delivery
        self._pictures = pictures
        self._tick = tick
        self._waiting = {"slices": 0, "events": 0}
        self._counts = Recent(self._count_waiting, _COUNT_EVERY_S)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def endpoint(self, _request: Request) -> Response:
        """GET /metrics."""
        slices, events = await self._counts.get()
        self._waiting = {"slices": slices, "events": events}
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def _count_waiting(self) -> tuple[int, int]:
        return await self._delivery.count_waiting()

    def collect(self) -> Iterator[Metric]:
        yield _gauge("cloudslice_info", "The running version.", "version", {__version__: 1})
        yield _gauge(
            "cloudslice_tasks",
            "Unfinished tasks.",
            "status",
            {status.value: n for status, n in self._supervisor.count_by_status().items()},
        )
        yield _gauge(
            "cloudslice_anchors",
            "Anchors in rooms.",
            "rooms",
            {"builtin": self._rooms.anchor_count},
        )
        slicing = self._supervisor.slicing_counters()
        yield _counter(
            "cloudslice_slicing",
            "What robots have made and left out.",
            "what",
            {each.name: getattr(slicing, each.name) for each in fields(slicing)},
        )
        processes = self._pictures.counters
        yield _counter(
            "cloudslice_picture_processes",
            "What has become of the processes that make pictures.",
            "what",
            {each.name: getattr(processes, each.name) for each in fields(processes)},
        )
        yield _counter(
            "cloudslice_datagrams",
            "Datagrams of the media port.",
            "what",
            {
                "received": self._port.datagrams,
                "foreign": self._port.foreign,
                "unsent": self._port.unsent,
                "failed": self._port.errors,
            },
        )
        yield _counter(
            "cloudslice_media",
            "What anchors' media has come to.",
            "what",
            self._rooms.media_counts(),
        )
        yield _counter(
            "cloudslice_faults",
            "Errors that nobody foresaw.",
            "part",
            {
                "tasks": self._supervisor.faults.errors,
                "rooms": self._rooms.faults.errors,
                "pictures": self._pictures.faults.errors,
                "tick": self._tick.faults.errors,
            },
        )
        yield from self._collect_delivery()

    def _collect_delivery(self) -> Iterator[Metric]:
        yield _gauge("cloudslice_waiting", "What waits for its delivery.", "what", self._waiting)
        uploads, callbacks = self._delivery.uploads, self._delivery.callbacks
        yield _counter(
            "cloudslice_uploads",
            "What has become of slices.",
            "what",
            {each.name: getattr(uploads, each.name) for each in fields(uploads)}
            | {"lost": self._delivery.lost, "set_aside": self._delivery.files_set_aside},
        )
        yield _counter(
            "cloudslice_callbacks",
            "What has become of webhooks.",
            "what",
            {each.name: getattr(callbacks, each.name) for each in fields(callbacks)},
        )
        yield GaugeMetricFamily(
            "cloudslice_spool_bytes", "Bytes in the spool.", value=self._delivery.spool_bytes
        )


def _gauge(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)
    return metric


def _counter(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    metric = CounterMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)
    return metric
