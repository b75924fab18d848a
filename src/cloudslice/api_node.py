"""A node of a cluster that takes the API's calls, and has neither media nor a data directory."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from cloudslice.api.gateway import Gateway
from cloudslice.bus import Bus
from cloudslice.clock import SystemClock
from cloudslice.cluster.cluster_auto_tasks import RuleCalls, RuleEars
from cloudslice.cluster.cluster_metrics import ClusterMetrics, RuleMetrics
from cloudslice.cluster.cluster_rooms import ClusterRooms
from cloudslice.cluster.cluster_tasks import ClusterTasks, RoomChecks
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.cluster_webhooks import callback_apps
from cloudslice.cluster.event_calls import ClusterEvents
from cloudslice.cluster.joining import check_secret, check_settings
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.cluster.removals import DistantRooms
from cloudslice.cluster.room_places import find_node
from cloudslice.config import Settings
from cloudslice.faults import Faults
from cloudslice.node import Node, healthz, make_rules, open_media_ports
from cloudslice.rooms.builtin.whip_redirects import whip_redirects_app
from cloudslice.rooms.management import RoomService
from cloudslice.rooms.room_kinds import open_remote_rooms, watch_rooms
from cloudslice.rooms.rooms_by_app import RoomsByApp
from cloudslice.secrets import SecretBox, load_key
from cloudslice.tasks.auto_task_rules import wanted_types
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tick import Tick


@asynccontextmanager
async def open_api_node(settings: Settings, nats_url: str) -> AsyncIterator[Node]:
    """Put a node together that takes calls.

    Raises:
        SettingsError: the settings ask for something that a cluster does not do.
        RegistryError, SecretKeyError: the node cannot run here.
    """
    check_settings(settings)
    # Those of builtin rooms are the business of the workers that have the rooms.
    rules = [each for each in make_rules(settings) if each.app.rooms != "builtin"]
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        box = SecretBox(load_key(settings.data_dir, settings.encryption_key.get_secret_value()))
        registry = await stack.enter_async_context(
            open_registry(nats_url, name="api", replicas=settings.cluster.replicas)
        )
        await check_secret(registry, box)
        view = await stack.enter_async_context(ClusterView(registry))
        store = KvTaskStore(registry, box, _record_nothing, room_of=view.room_of)
        # Rooms of other servers are only asked for here, and never entered: no media comes.
        tick = Tick(clock)
        ports = open_media_ports(stack, settings.rtc, 0, tick, clock)
        bus = Bus(None)
        rooms = await open_remote_rooms(stack, settings, ports, tick, clock, bus)
        builtin = DistantRooms(registry, view)
        checks: dict[str, RoomChecks] = {"builtin": builtin, **rooms}
        tasks = ClusterTasks(settings, store, view, box, checks, clock)
        servers: dict[str, RoomService] = {"builtin": builtin, **rooms}
        services = ClusterRooms(RoomsByApp(settings, servers), store, view)
        whip = whip_redirects_app(
            settings, lambda room: find_node(view, room).url, clock, Faults("whip")
        )
        events = ClusterEvents(registry, view, callback_apps(settings))
        gateway = Gateway(settings, tasks, services, events, clock)
        ears = RuleEars(view)
        auto_tasks = await stack.enter_async_context(
            AutoTasks(rules, RuleCalls(tasks, store), ears.find_tasks, bus, clock)
        )
        ears.tell(auto_tasks)
        livekit = await watch_rooms(
            stack, settings, rooms, partial(wanted_types, rules), auto_tasks, clock
        )
        metrics = CollectorRegistry()
        metrics.register(RuleMetrics(auto_tasks))
        metrics.register(ClusterMetrics(view, tasks.counts))
        ProcessCollector(registry=metrics)

        async def show_metrics(_request: Request) -> Response:
            return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

        app = Starlette(
            routes=[
                Route("/healthz", healthz),
                Route("/metrics", show_metrics),
                Mount("/whip", whip),
                Route("/whip", whip),
                Mount("/livekit", livekit),
                Route("/", gateway),
                Route("/{prefix:path}", gateway, methods=["POST"]),
            ]
        )
        yield Node(app, gateway, None)


async def _record_nothing(event: object) -> None:
    raise AssertionError(f"a node that takes calls has no robots: {event!r}")
