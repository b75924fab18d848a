"""A node of a cluster that runs tasks: media, slices, uploads and webhooks, put together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from cloudslice.adoption import open_control
from cloudslice.bus import Bus
from cloudslice.clock import SystemClock
from cloudslice.cluster.cluster_auto_tasks import RuleCalls, RuleEars
from cloudslice.cluster.cluster_custody import ClusterCustody
from cloudslice.cluster.cluster_metrics import ClusterMetrics, WorkerMetrics
from cloudslice.cluster.cluster_tasks import ClusterTasks
from cloudslice.cluster.cluster_view import ClusterView, NodeInfo
from cloudslice.cluster.cluster_webhooks import ClusterWebhooks, open_event_stream
from cloudslice.cluster.draining import Drain
from cloudslice.cluster.fence import Fence
from cloudslice.cluster.headroom import FULL_BELOW, Headroom
from cloudslice.cluster.joining import check_secret, check_settings, choose_url, load_node_name
from cloudslice.cluster.kv_task_store import KvTaskStore
from cloudslice.cluster.node_lease import NodeLease
from cloudslice.cluster.orphaned_endings import OrphanedEndings
from cloudslice.cluster.registry_opening import open_registry
from cloudslice.cluster.removals import Removals
from cloudslice.cluster.room_ownership import RoomOwnership
from cloudslice.cluster.room_places import WorkerPlaces
from cloudslice.cluster.task_endings import TaskEndings
from cloudslice.cluster.task_supervisor import TaskSupervisor
from cloudslice.config import Settings
from cloudslice.database import Database
from cloudslice.delivery import SCHEMAS, open_delivery
from cloudslice.ids import RoomKey
from cloudslice.metrics import NodeMetrics
from cloudslice.node import Node, healthz, make_rules, open_media_ports
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.rooms.builtin.whip import whip_app
from cloudslice.rooms.remote.remote_rooms import RemoteRooms
from cloudslice.rooms.room_kinds import open_remote_rooms
from cloudslice.secrets import SecretBox, check_key, load_key
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.sqlite_file import DatabaseError
from cloudslice.steady_clock import SteadyClock
from cloudslice.tasks.auto_tasks import AutoTasks
from cloudslice.tasks.store import StoreError
from cloudslice.tasks.worker import Worker
from cloudslice.tick import Tick


@asynccontextmanager
async def open_worker_node(settings: Settings, nats_url: str) -> AsyncIterator[Node]:
    """Put a worker together, which takes rooms as soon as it is entered.

    Leaving the context closes open slices, makes them durable, and gives the rooms back: other
    nodes go on with the tasks.

    Raises:
        SettingsError: the settings ask for something that a cluster does not do.
        RegistryError, DatabaseError, SecretKeyError, PortInUseError: the node cannot run here.
    """
    check_settings(settings)
    # Those of other servers' rooms are the business of the nodes that take calls.
    rules = [each for each in make_rules(settings) if each.app.rooms == "builtin"]
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock, headroom = SystemClock(), Headroom()
    async with AsyncExitStack() as stack:
        tick = Tick(clock)
        ports = open_media_ports(stack, settings.rtc, settings.rtc.udp_port, tick, clock)
        own_host = next((host for host, _ in ports.shared.candidates), "127.0.0.1")
        url = choose_url(settings, own_host)
        box = SecretBox(load_key(settings.data_dir, settings.encryption_key.get_secret_value()))
        # Before all else: who has this has the data directory, and the node's name, alone.
        database = await stack.enter_async_context(
            Database(settings.data_dir / "cloudslice.db", SCHEMAS)
        )
        await database.run(lambda connection: check_key(connection, box))
        node = load_node_name(settings.data_dir)
        registry = await stack.enter_async_context(
            open_registry(nats_url, name=node, replicas=settings.cluster.replicas)
        )
        await check_secret(registry, box)
        view = await stack.enter_async_context(ClusterView(registry))
        bus = Bus(database)
        steady = await stack.enter_async_context(SteadyClock(database, clock))

        async def record(event: object) -> None:
            try:
                await database.run(lambda connection: bus.record(connection, event))
            except DatabaseError as error:
                raise StoreError(str(error)) from error

        def describe(session: str) -> NodeInfo:
            free = headroom.measure()
            has_place = len(worker.tasks) < settings.cluster.tasks_per_node
            is_leaving = ownership.is_leaving
            is_open = (
                not is_leaving and free >= FULL_BELOW and has_place and not delivery.uploads.is_full
            )
            return NodeInfo(node, session, free, ownership.count, is_open, url, is_leaving)

        def token_of(room: RoomKey) -> int:
            return ownership.require_token(room)

        lease = NodeLease(registry, node, settings.cluster.lease_s, clock, describe)
        builtin = BuiltinRooms(ports.shared, settings.rtc, clock, tick, bus)
        ownership = RoomOwnership(registry, view, lease, clock, builtin.has_anchors)
        builtin.on_left(ownership.note_left)
        fence = Fence(lease, clock.utc_ms() // 1000)
        events = await open_event_stream(registry, settings)
        webhooks = ClusterWebhooks(settings, database, bus, clock, steady, events, lease)
        endings = TaskEndings(registry, view, node, webhooks.wait_handed_over)
        store = KvTaskStore(registry, box, record, token_of, view.room_of, endings)
        delivery = await open_delivery(
            stack,
            settings,
            database,
            box,
            bus,
            steady,
            clock,
            webhooks,
            fence=fence.around,
            others=endings,
        )
        pictures = stack.enter_context(PicturePool())
        # While webhooks still take the events of the anchors' leaving.
        stack.callback(builtin.close)
        rooms: dict[str, BuiltinRooms | RemoteRooms] = {"builtin": builtin}
        rooms |= await open_remote_rooms(stack, settings, ports, tick, clock, bus)
        worker = Worker(settings, store, delivery.spool, rooms, pictures, clock, tick, bus)
        # The lease outlives the worker: it is given back when all slices are closed.
        await stack.enter_async_context(lease)
        await stack.enter_async_context(worker)
        # Tasks that this node has not ended have been ended by others, which have told of it.
        delivery.uploads.queues.leave_others(view.tasks.keys())
        watching = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(watching.create_task(delivery.spool.watch()).cancel)
        # Before anybody hears that rooms are this node's, and before anchors of those that are not
        # are put out: a room that has gone elsewhere has not ended.
        ears = RuleEars(view, lambda room: ownership.find_token(room) is not None)
        ownership.on_changed(ears.note_room)
        await stack.enter_async_context(ownership)
        await stack.enter_async_context(Removals(registry, view, ownership, builtin))
        supervisor = await stack.enter_async_context(
            TaskSupervisor(
                registry,
                view,
                store,
                box,
                lease,
                ownership,
                worker,
                fence,
                delivery.uploads.queues.leave,
            )
        )
        queues = delivery.uploads.queues
        await stack.enter_async_context(OrphanedEndings(endings, view, queues, clock))
        custody = ClusterCustody(registry, view, endings, fence, queues, worker.runs)
        await open_control(stack, settings, delivery, box, custody)
        senders = await stack.enter_async_context(webhooks.send(registry, view))
        tasks = ClusterTasks(settings, store, view, box, rooms, clock)
        auto_tasks = await stack.enter_async_context(
            AutoTasks(rules, RuleCalls(tasks, store), ears.find_tasks, bus, clock)
        )
        ears.tell(auto_tasks)
        metrics = NodeMetrics(
            worker,
            rooms,
            ports,
            pictures,
            delivery,
            tick,
            auto_tasks,
            more=[ClusterMetrics(view), WorkerMetrics(lease, ownership, senders)],
        )
        places = WorkerPlaces(view, lease, ownership, builtin.put_out_anchors, url)
        whip = whip_app(settings, builtin, clock, places)
        app = Starlette(
            routes=[
                Route("/healthz", healthz),
                Route("/metrics", metrics.endpoint),
                Mount("/whip", whip),
                Route("/whip", whip),
            ]
        )

        async def wait_delivered() -> None:
            await delivery.spool.flush()
            await delivery.uploads.wait_idle()
            await webhooks.wait_handed_over()

        drain = Drain(
            view,
            lease,
            ownership,
            supervisor,
            clock,
            wait_delivered,
            settings.cluster.drain_s,
        )
        yield Node(app, None, ports.shared.udp_port, drain.run)
