"""The way to the registry: a connection to NATS, and the bucket, made if it is not there."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BucketNotFoundError, ServiceUnavailableError

from cloudslice.cluster.registry import ANSWER_S, BUCKET, MARKER_S, Registry, RegistryError

_MIN_VERSION = (2, 11)
"""The first with a time to live for each key."""
_CONNECT_S = 5.0
_ELECTION_S = 20.0
"""Servers that were started together have elected who leads them by then."""
_AGAIN_S = 0.5
_NO_LEADER = (10008, 10005)
"""Error codes of JetStream: its cluster is not available, or has too few servers now."""

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_registry(url: str, *, name: str, replicas: int = 1) -> AsyncIterator[Registry]:
    """The registry on the servers at `url`, made if it is not there.

    Args:
        url: ``nats://host:port``, several with commas between them.
        name: what the servers call this client.
        replicas: how many servers hold it, when it is made.

    Raises:
        RegistryError: no server answers, it is too old, or it has no JetStream.
    """
    shown = _without_secrets(url)
    client = await _connect(url, shown, name)
    try:
        version = client.connected_server_version
        if (version.major, version.minor) < _MIN_VERSION:
            raise RegistryError(
                f"{shown}: this is NATS {version.major}.{version.minor}.{version.patch}; "
                f"a cluster needs NATS {'.'.join(map(str, _MIN_VERSION))} or newer"
            )
        stream = client.jetstream(timeout=ANSWER_S)
        await _make_bucket(shown, stream, replicas)
        yield Registry(client, stream)
    finally:
        await client.close()


def _without_secrets(url: str) -> str:
    """The same servers, without users, passwords and tokens: for the log."""
    return ",".join(re.sub(r"^(\w+://)?.*@", r"\1", each) for each in url.split(","))


async def _connect(url: str, shown: str, name: str) -> Client:
    reason = ""

    async def note_lost() -> None:
        if not client.is_closed:
            _log.warning("no connection to NATS")

    async def note_found() -> None:
        _log.info("connected to NATS again")

    async def note_error(error: Exception) -> None:
        nonlocal reason
        if isinstance(error, NatsError):  # what the server says, not how the connection ends then
            reason = f": {error}"
        _log.debug("error of the NATS client", error=repr(error))

    client = Client()
    try:
        async with asyncio.timeout(_CONNECT_S):
            await client.connect(
                url.split(","),
                name=name,
                connect_timeout=2,
                reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds for sleep()
                max_reconnect_attempts=-1,
                ping_interval=2,
                max_outstanding_pings=2,
                disconnected_cb=note_lost,
                reconnected_cb=note_found,
                error_cb=note_error,
            )
            return client
    except TimeoutError as error:
        raise RegistryError(
            f"{shown}: no NATS server let us in within {_CONNECT_S:g} s{reason}"
        ) from error
    except (NatsError, OSError, ValueError) as error:
        raise RegistryError(f"{shown}: cannot connect to NATS: {error}") from error


async def _make_bucket(shown: str, stream: JetStreamContext, replicas: int) -> None:
    """Make the bucket, if it is not there, as soon as the servers have elected who does that."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _ELECTION_S
    while True:
        try:
            await _find_or_make(stream, replicas)
        except (NatsError, TimeoutError) as error:
            if _has_no_leader(error) and loop.time() < deadline:
                await asyncio.sleep(_AGAIN_S)
                continue
            if isinstance(error, ServiceUnavailableError) and not _has_no_leader(error):
                raise RegistryError(
                    f"{shown}: NATS has no JetStream: it is not started with -js"
                ) from error
            raise RegistryError(
                f"{shown}: JetStream of NATS cannot be used: {error or 'no answer'}"
            ) from error
        else:
            return


async def _find_or_make(stream: JetStreamContext, replicas: int) -> None:
    try:
        await stream.key_value(BUCKET)
    except BucketNotFoundError:
        await stream.create_key_value(
            api.KeyValueConfig(bucket=BUCKET, limit_marker_ttl=MARKER_S, replicas=replicas)
        )


def _has_no_leader(error: Exception) -> bool:
    """Whether the servers are there, and may answer when they have held an election."""
    if isinstance(error, APIError):
        return error.err_code in _NO_LEADER
    return isinstance(error, TimeoutError)  # NATS's own is one, too
