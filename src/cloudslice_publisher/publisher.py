"""An anchor that publishes media into a room, and comes back whenever it is thrown out."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from enum import Enum

import httpx

from cloudslice.clock import Clock, SystemClock
from cloudslice.ids import TrackKind
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.sdp import SdpError
from cloudslice.webrtc.udp.sockets import PortInUseError
from cloudslice_publisher.connection import Connection, ConnectionLostError, ConnectionOptions
from cloudslice_publisher.media import Media
from cloudslice_publisher.pacer import Pacer
from cloudslice_publisher.ports import ReadyPorts
from cloudslice_publisher.sender import SendStats
from cloudslice_publisher.whip import WhipClient, WhipError, WhipSession

_FIRST_DELAY_S = 0.25
_MAX_DELAY_S = 5.0
_CONNECT_TIMEOUT_S = 10.0
_LEAVE_TIMEOUT_S = 2.0
_HTTP_TIMEOUT_S = 10.0
# A hundred publishers may come back at once; none has to wait for another's request.
_HTTP_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
_CLOCK = SystemClock()


class PublishError(Exception):
    """Publishing failed or ended, and `PublishConfig.reconnects` is off; the text says why."""


class PublisherState(Enum):
    """Where a publisher is."""

    CONNECTING = "connecting"
    LIVE = "live"
    WAITING = "waiting"
    """Thrown out, or not let in; it will try again in a moment."""
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class PublishConfig:
    """Where to publish, and how.

    Attributes:
        url: the WHIP endpoint.
        bearer: the token for it; of cloudslice, a UserSig.
        private_map_key: the room's permission ticket, where the server wants one.
        reconnects: whether to try again for ever, or to raise PublishError.
        mute_audio_after_s, mute_video_after_s: seconds after the start, or None for never.
        connection: see there.
    """

    url: str
    bearer: str = field(repr=False)
    private_map_key: str | None = field(default=None, repr=False)
    reconnects: bool = True
    mute_audio_after_s: float | None = None
    mute_video_after_s: float | None = None
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)


OnState = Callable[[PublisherState, str], None]
"""Told of each change of state, with what was the matter for WAITING and ENDED, else ""."""


def _ignore(_state: PublisherState, _detail: str) -> None:
    pass


class Publisher:
    """One anchor; see `publish` and `publisher_group`, which make and run them."""

    def __init__(
        self,
        config: PublishConfig,
        media: Media,
        *,
        http: httpx.AsyncClient,
        pacer: Pacer,
        ports: ReadyPorts,
        certificate: DtlsCertificate,
        clock: Clock,
        on_state: OnState = _ignore,
    ) -> None:
        self.config = config
        self.state = PublisherState.CONNECTING
        self.stats = SendStats()
        self._media = media
        self._whip = WhipClient(
            http, config.url, bearer=config.bearer, private_map_key=config.private_map_key
        )
        self._pacer = pacer
        self._ports = ports
        self._certificate = certificate
        self._clock = clock
        self._on_state = on_state
        self._muted: set[TrackKind] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._says_goodbye = True
        self._live = asyncio.Event()
        self._delay_s = _FIRST_DELAY_S
        self._connection: Connection | None = None

    async def run(self) -> None:
        """Publish until cancelled; then leave the room.

        Raises:
            PublishError: publishing failed or ended, and the config says not to reconnect.
        """
        self._schedule_mutes()
        reason = ""
        try:
            while True:
                reason = await self._publish_once()
                if not self.config.reconnects:
                    raise PublishError(reason)
                self._set_state(PublisherState.WAITING, reason)
                await asyncio.sleep(self._next_delay_s())
                reason = ""
                self._set_state(PublisherState.CONNECTING)
        finally:
            for timer in self._timers:
                timer.cancel()
            self._set_state(PublisherState.ENDED, reason)

    async def wait_live(self) -> None:
        """Wait until media flows; returns at once while it does."""
        await self._live.wait()

    def mute(self, kind: TrackKind, *, is_muted: bool = True) -> None:
        """Stop, or go on, sending one of the streams; the others are not touched."""
        if is_muted:
            self._muted.add(kind)
        else:
            self._muted.discard(kind)
        if self._connection is not None:
            self._connection.mute(kind, is_muted=is_muted)

    def vanish(self) -> None:
        """Let the end, when it comes, be that of a cut cable: nobody is told goodbye."""
        self._says_goodbye = False

    async def _publish_once(self) -> str:
        """Publish until it fails or ends; why it did."""
        try:
            connection = Connection(
                self._media,
                self.config.connection,
                certificate=self._certificate,
                stats=self.stats,
                ports=self._ports,
                clock=self._clock,
            )
        except PortInUseError as error:
            return f"no socket: {error}"
        for kind in self._muted:
            connection.mute(kind)
        self._connection = connection
        try:
            session = await self._whip.offer(connection.offer())
            async with self._leaving(session):
                return await self._send(connection, session)
        except SdpError as error:
            return f"the answer cannot be used: {error}"
        except (WhipError, ConnectionLostError) as error:
            return str(error)
        finally:
            self._connection = None
            connection.close(says_goodbye=self._says_goodbye)

    async def _send(self, connection: Connection, session: WhipSession) -> str:
        connection.start(session.answer)
        self._pacer.add(connection.send_due)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await connection.wait_connected()
            self._delay_s = _FIRST_DELAY_S
            self._set_state(PublisherState.LIVE)
            return await connection.wait_ended()
        except TimeoutError:
            return f"not connected within {_CONNECT_TIMEOUT_S:.0f} s"
        finally:
            self._pacer.remove(connection.send_due)

    @contextlib.asynccontextmanager
    async def _leaving(self, session: WhipSession) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if self._says_goodbye:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                        await self._whip.end(session)

    def _schedule_mutes(self) -> None:
        delays = (
            (TrackKind.AUDIO, self.config.mute_audio_after_s),
            (TrackKind.VIDEO, self.config.mute_video_after_s),
        )
        loop = asyncio.get_running_loop()
        self._timers = [
            loop.call_later(delay_s, self.mute, kind)
            for kind, delay_s in delays
            if delay_s is not None
        ]

    def _next_delay_s(self) -> float:
        delay_s, self._delay_s = self._delay_s, min(self._delay_s * 2, _MAX_DELAY_S)
        # Spread, so that a hundred publishers do not come back to a new server in one instant.
        return delay_s * random.uniform(0.75, 1.25)  # noqa: S311

    def _set_state(self, state: PublisherState, detail: str = "") -> None:
        self.state = state
        if state is PublisherState.LIVE:
            self._live.set()
        else:
            self._live.clear()
        self._on_state(state, detail)


class PublisherGroup:
    """Publishers that share a timer, an HTTP client and a certificate; see `publisher_group`."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        http: httpx.AsyncClient,
        pacer: Pacer,
        ports: ReadyPorts,
        clock: Clock,
    ) -> None:
        self._tasks = tasks
        self._http = http
        self._pacer = pacer
        self._ports = ports
        self._clock = clock
        self._certificate = DtlsCertificate()
        self._running: dict[Publisher, asyncio.Task[None]] = {}

    def start(self, config: PublishConfig, media: Media, on_state: OnState = _ignore) -> Publisher:
        """Start to publish; `Publisher.wait_live` tells when it has come to it."""
        publisher = Publisher(
            config,
            media,
            http=self._http,
            pacer=self._pacer,
            ports=self._ports,
            certificate=self._certificate,
            clock=self._clock,
            on_state=on_state,
        )
        self._running[publisher] = self._tasks.create_task(publisher.run())
        return publisher

    async def stop(self, publisher: Publisher) -> None:
        """End one; returns when it has left. Harmless when it has ended."""
        task = self._running.pop(publisher, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def stop_all(self) -> None:
        """End all; returns when they have left."""
        running, self._running = self._running, {}
        for task in running.values():
            task.cancel()
        if running:
            await asyncio.wait(running.values())


@contextlib.asynccontextmanager
async def publisher_group(clock: Clock = _CLOCK) -> AsyncIterator[PublisherGroup]:
    """A group to start publishers in; all have left when it is left.

    Raises:
        ExceptionGroup: of PublishError, when one that does not reconnect has failed.
    """
    failure: Exception | None = None
    async with (
        httpx.AsyncClient(timeout=_HTTP_TIMEOUT_S, limits=_HTTP_LIMITS) as http,
        asyncio.TaskGroup() as tasks,
    ):
        pacer, ports = Pacer(clock), ReadyPorts()
        pacer.add(ports.read)  # first, so that what is asked for is sent at once
        pacing = tasks.create_task(pacer.run())
        group = PublisherGroup(tasks, http, pacer, ports, clock)
        try:
            yield group
        except Exception as error:  # the body's own: it need not come out as a group of one
            failure = error
        finally:
            await group.stop_all()
            pacing.cancel()
            ports.close()
    if failure is not None:
        raise failure


async def publish(config: PublishConfig, media: Media, on_state: OnState = _ignore) -> None:
    """Publish `media` until cancelled, then leave the room.

    Raises:
        PublishError: publishing failed or ended, and the config says not to reconnect.
    """
    failure: BaseException | None = None
    try:
        async with publisher_group() as group:
            group.start(config, media, on_state)
            await asyncio.Event().wait()
    except* PublishError as failures:
        failure = failures.exceptions[0]
    if failure is not None:
        raise failure
