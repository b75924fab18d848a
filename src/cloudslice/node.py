"""The composition root: the one place where the parts of a node meet."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from cloudslice.adoption import open_control
from cloudslice.api.errors import ApiError, Language
from cloudslice.api.gateway import Gateway
from cloudslice.api.requests import parse_bucket
from cloudslice.bus import Bus
from cloudslice.clock import Clock, SystemClock
from cloudslice.config import RtcSettings, Settings
from cloudslice.custody import SingleCustody
from cloudslice.database import Database
from cloudslice.delivery import SCHEMAS, open_delivery
from cloudslice.metrics import NodeMetrics
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.rooms.builtin.whip import whip_app
from cloudslice.rooms.remote.remote_rooms import RemoteRooms
from cloudslice.rooms.room_kinds import VISIT_PORT, open_remote_rooms, watch_rooms
from cloudslice.rooms.rooms_by_app import RoomsByApp
from cloudslice.secrets import SecretBox, check_key, load_key
from cloudslice.settings.mistakes import SettingsError
from cloudslice.slices import Vendor
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.steady_clock import SteadyClock
from cloudslice.tasks.auto_task_rules import AutoTaskRule, wanted_types
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tasks.service import Tasks
from cloudslice.tasks.sqlite_store import SqliteTaskStore
from cloudslice.tasks.worker import Worker
from cloudslice.tick import Tick
from cloudslice.webhooks.webhooks import Webhooks
from cloudslice.webrtc.udp.addresses import AddressRules
from cloudslice.webrtc.udp.media_ports import MediaPorts
from cloudslice.webrtc.udp.port import UdpPort


@dataclass(frozen=True, slots=True)
class Node:
    """A running node, as what drives it sees it."""

    app: Starlette
    gateway: Gateway | None
    """None: it takes no calls."""
    udp_port: int | None
    """None: it has no media."""
    drain: Callable[[], Awaitable[None]] | None = None
    """What is to be done before it stops, while it still answers."""


@asynccontextmanager
async def open_node(settings: Settings) -> AsyncIterator[Node]:
    """Put a node together and take up what a former process has left.

    Leaving the context closes open slices and makes them durable; the tasks go on with the next
    process.

    Raises:
        SettingsError: the settings ask for something that is not there.
        DatabaseError, StoreError, SecretKeyError, PortInUseError: the node cannot run here.
    """
    rules = make_rules(settings)
    # What people said and how they looked waits in here for its upload.
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        # What can fail for the operator to mend comes first, outside of all task groups, which
        # would wrap the error.
        tick = Tick(clock)
        ports = open_media_ports(stack, settings.rtc, settings.rtc.udp_port, tick, clock)
        port = ports.shared
        box = SecretBox(load_key(settings.data_dir, settings.encryption_key.get_secret_value()))
        path = settings.data_dir / "cloudslice.db"
        database = await stack.enter_async_context(Database(path, SCHEMAS))
        await database.run(lambda connection: check_key(connection, box))
        bus = Bus(database)
        steady = await stack.enter_async_context(SteadyClock(database, clock))
        store = SqliteTaskStore(database, box, bus)
        known, _ = await store.load()
        webhooks = Webhooks(settings, database, bus, clock, steady)
        delivery = await open_delivery(
            stack, settings, database, box, bus, steady, clock, webhooks, known=known
        )
        spool, uploader = delivery.spool, delivery.uploads
        pictures = stack.enter_context(PicturePool())
        rooms = BuiltinRooms(port, settings.rtc, clock, tick, bus)
        # While webhooks still take the events of the anchors' leaving.
        stack.callback(rooms.close)
        providers: dict[str, BuiltinRooms | RemoteRooms] = {"builtin": rooms}
        remote = await open_remote_rooms(stack, settings, ports, tick, clock, bus)
        providers |= remote
        worker = await stack.enter_async_context(
            Worker(settings, store, spool, providers, pictures, clock, tick, bus)
        )
        await uploader.end_others(worker.taken_up)
        watching = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(watching.create_task(spool.watch()).cancel)
        tasks = Tasks(
            settings, store, worker, spool, lambda: uploader.is_full, providers, steady.now_ms
        )
        gateway = Gateway(settings, tasks, RoomsByApp(settings, providers), webhooks, clock)
        auto_tasks = await stack.enter_async_context(
            AutoTasks(rules, tasks, worker.find_known, bus, clock)
        )
        livekit = await watch_rooms(
            stack, settings, remote, partial(wanted_types, rules), auto_tasks, clock
        )
        custody = SingleCustody(uploader.queues, worker.runs)
        await open_control(stack, settings, delivery, box, custody)
        metrics = NodeMetrics(worker, providers, ports, pictures, delivery, tick, auto_tasks)
        whip = whip_app(settings, rooms, clock)
        app = Starlette(routes=_routes(gateway, metrics, whip, livekit))
        yield Node(app, gateway, port.udp_port)


def _routes(
    gateway: Gateway, metrics: NodeMetrics, whip: Starlette, livekit: Starlette
) -> list[BaseRoute]:
    return [
        Route("/healthz", healthz),
        Route("/metrics", metrics.endpoint),
        Mount("/whip", whip),
        # Which says that it is no endpoint; the API would answer else.
        Route("/whip", whip),
        Mount("/livekit", livekit),
        Route("/", gateway),
        # Clients sign "/" whatever path their endpoint has.
        Route("/{prefix:path}", gateway, methods=["POST"]),
    ]


def make_rules(settings: Settings) -> list[AutoTaskRule]:
    """The rules that are on.

    Raises:
        SettingsError: there can be no such bucket.
    """
    rules = []
    for app_at, app in enumerate(settings.apps):
        for rule_at, rule in enumerate(app.auto_tasks):
            if not rule.rooms:
                continue
            storage = rule.storage
            values = {
                "Vendor": Vendor[storage.vendor.upper()],
                "Region": storage.region,
                "Bucket": storage.bucket,
                "AccessKey": storage.access_key,
                "SecretKey": storage.secret_key.get_secret_value(),
                "FileNamePrefix": storage.file_name_prefix,
            }
            try:
                bucket = parse_bucket(values, settings.storage.endpoints)
            except ApiError as error:
                raise SettingsError(
                    f"apps[{app_at}].auto_tasks[{rule_at}].storage: "
                    f"{error.message(Language.ENGLISH)}"
                ) from error
            rules.append(AutoTaskRule.make(app, rule, bucket))
    return rules


def open_media_ports(
    stack: AsyncExitStack, rtc: RtcSettings, udp_port: int, tick: Tick, clock: Clock
) -> MediaPorts:
    """The ports of a node, read on the tick; both are closed when `stack` is left.

    Raises:
        PortInUseError: somebody else has `udp_port`.
    """
    addresses = AddressRules(rtc.advertise_ip, rtc.networks, rtc.interfaces)
    port = UdpPort(udp_port, addresses, clock)
    stack.callback(port.close)
    stack.callback(tick.close)
    tick.add(port)
    visit_port = partial(UdpPort, 0, addresses, clock, VISIT_PORT, faults=port.faults)
    return MediaPorts(port, visit_port, tick)


async def healthz(_request: Request) -> Response:
    """GET /healthz."""
    return PlainTextResponse("ok\n")
