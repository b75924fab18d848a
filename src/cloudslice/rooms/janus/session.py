"""A session with Janus's API (Janus's documentation, "The Janus API").

1. Each request has a transaction. Its answer is what comes with that transaction, but for an `ack`.
2. All that comes of a handle is heard by its listener, in Janus's order, answers included, before
   who waits for the answer goes on.
3. A connection that is lost is made again and the session claimed. Media goes on meanwhile. Where
   Janus does not have the session any more, it is lost.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import structlog

from cloudslice.faults import Faults
from cloudslice.rooms.janus.janus_channel import JanusAddress, JanusChannel, Message
from cloudslice.rooms.janus.janus_errors import JanusError, SignallingLostError
from cloudslice.rooms.janus.janus_http import JanusHttp, speaks_http
from cloudslice.rooms.janus.janus_socket import JanusSocket
from cloudslice.rooms.remote.room_server import UnreachableError

Listener = Callable[[Message], None]

_VIDEOROOM = "janus.plugin.videoroom"
_KEEPALIVE_S = 20.0
"""Janus ends a session after 60 s, and some proxies a connection after 30 s of silence."""
_REQUEST_S = 15.0
"""Longer than it takes to find out that a WebSocket is lost."""
_GOODBYE_S = 1.0
_CLAIM_S = 40.0
"""For so long a lost connection is tried to be made again."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the plugin says to a request.

    Attributes:
        data: the plugin's own words.
        jsep: the SDP with it, if there is one.
    """

    data: Message
    jsep: Message | None


class JanusSession:
    """See the module, and `open_session`.

    Attributes:
        on_claimed: called when the session was claimed back; what Janus has told meanwhile is lost.
    """

    def __init__(self, channel: JanusChannel, address: JanusAddress) -> None:
        self.on_claimed: Callable[[], None] = lambda: None
        self._address = address
        self._channel = channel
        self._session_id: int | None = None
        self._transactions = (f"{number}" for number in itertools.count(1))
        self._pending: dict[str, asyncio.Future[Message]] = {}
        self._listeners: dict[int, Listener] = {}
        self._faults = Faults("session with Janus")
        self._is_connected = False
        self._is_ending = False
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def lost(self) -> str:
        """Wait until the session is lost for good; why."""
        return await asyncio.shield(self._lost)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._is_connected

    async def connect(self) -> None:
        """Make the connection. Raises UnreachableError."""
        await self._channel.connect()

    async def run(self) -> None:
        """Take in what comes; until cancelled, or the session is lost."""
        reason = "unforeseen error"
        try:
            while not self._is_ending:
                self._is_connected = True
                while (message := await self._channel.receive()) is not None:
                    self._take(message)
                self._is_connected = False
                self._fail_pending()
                if not self._is_ending:
                    await self._claim_again()
        except TimeoutError:
            reason = f"Janus at {self._address.url} gave no answer in {_REQUEST_S:g} s"
        except (UnreachableError, JanusError) as error:
            reason = str(error)
        except Exception as error:
            self._faults.caught(error, server=self._address.url)
        finally:
            self._fail_pending()
            if not self._lost.done():
                self._lost.set_result(reason)

    async def request(self, request: Message) -> Message:
        """Send a request of Janus's core, and wait for its answer.

        Raises:
            JanusError: Janus refuses.
            UnreachableError: there was no answer.
        """
        transaction = next(self._transactions)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._pending[transaction] = answer
        try:
            async with asyncio.timeout(_REQUEST_S):
                await self._send(request | {"transaction": transaction})
                message = await answer
        except TimeoutError as error:
            raise UnreachableError(
                f"Janus at {self._address.url} gave no answer in {_REQUEST_S:g} s"
            ) from error
        finally:
            self._pending.pop(transaction, None)
        if message.get("janus") == "error":
            raise _refusal(message)
        return message

    async def info(self) -> Message:
        """What Janus says of itself. Raises what `request` does."""
        return await self.request({"janus": "info", "session_id": None})

    async def begin(self) -> None:
        """Make the session. Raises what `request` does."""
        self._session_id = (await self.request({"janus": "create"}))["data"]["id"]

    async def attach(self, listener: Listener) -> int:
        """A new handle of the VideoRoom plugin, which `listener` hears. Raises what `request`
        does."""
        answer = await self.request({"janus": "attach", "plugin": _VIDEOROOM})
        handle: int = answer["data"]["id"]
        self._listeners[handle] = listener
        return handle

    async def detach(self, handle: int) -> None:
        """Free a handle; its listener hears no more. Raises what `request` does."""
        self._listeners.pop(handle, None)
        await self.request({"janus": "detach", "handle_id": handle})

    async def message(self, handle: int, body: Message, jsep: Message | None = None) -> Answer:
        """Ask the plugin. Raises what `request` does; JanusError: the plugin refuses, too."""
        request: Message = {"janus": "message", "handle_id": handle, "body": body}
        if jsep is not None:
            request["jsep"] = jsep
        message = await self.request(request)
        data: Message = (message.get("plugindata") or {}).get("data") or {}
        if "error_code" in data:
            raise JanusError(int(data["error_code"]), str(data.get("error", "")))
        return Answer(data, message.get("jsep"))

    async def end(self) -> None:
        """End the session, if Janus hears it in time."""
        self._is_ending = True
        with suppress(UnreachableError, JanusError, TimeoutError):
            async with asyncio.timeout(_GOODBYE_S):
                if self._session_id is not None and not self._lost.done():
                    await self.request({"janus": "destroy"})
        await self._channel.close()

    async def keep_alive(self) -> None:
        """Tell Janus now and then that we are there; until cancelled."""
        while True:
            await asyncio.sleep(_KEEPALIVE_S)
            with suppress(SignallingLostError):
                await self._send({"janus": "keepalive", "transaction": next(self._transactions)})

    async def _send(self, request: Message) -> None:
        request = {"session_id": self._session_id} | request
        if request["session_id"] is None:
            del request["session_id"]
        await self._channel.send(request)

    def _take(self, message: Message) -> None:
        kind = message.get("janus")
        if kind == "ack":
            return
        if kind == "timeout" and message.get("session_id") == self._session_id:
            raise UnreachableError(f"Janus at {self._address.url} has ended the session")
        listener = self._listeners.get(message.get("sender", 0))
        if listener is not None:
            try:
                listener(message)
            except Exception as error:
                # What nobody foresaw in one message does not keep the next ones from being heard.
                self._faults.caught(error, server=self._address.url)
        answer = self._pending.get(str(message.get("transaction", "")))
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _fail_pending(self) -> None:
        for answer in self._pending.values():
            if not answer.done():
                answer.set_exception(SignallingLostError(self._address.url))
                answer.exception()  # there may be nobody who waits for it any more

    async def _claim_again(self) -> None:
        """Raises UnreachableError, JanusError: the session is lost."""
        _log.warning("connection to Janus is lost", server=self._address.url)
        deadline = asyncio.get_running_loop().time() + _CLAIM_S
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._channel.connect()
                break
            except UnreachableError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        async with asyncio.timeout(_REQUEST_S):
            await self._claim()
        _log.info("session with Janus is claimed back", server=self._address.url)
        self.on_claimed()

    async def _claim(self) -> None:
        transaction = next(self._transactions)
        await self._send({"janus": "claim", "transaction": transaction})
        while (message := await self._channel.receive()) is not None:
            if message.get("transaction") != transaction:
                self._take(message)
            elif message.get("janus") == "error":
                raise _refusal(message)
            else:
                return
        raise SignallingLostError(self._address.url)


def _refusal(message: Message) -> JanusError:
    error = message.get("error") or {}
    return JanusError(int(error.get("code", 0)), str(error.get("reason", "")))


@asynccontextmanager
async def open_session(address: JanusAddress) -> AsyncIterator[JanusSession]:
    """A session, which is ended with the context.

    Raises:
        UnreachableError: Janus gives no answer.
        JanusError: it refuses.
    """
    async with aiohttp.ClientSession() as http:
        channel: JanusChannel = JanusSocket(http, address)
        if address.may_be_http and await speaks_http(http, address):
            channel = JanusHttp(http, address)
        session = JanusSession(channel, address)
        await session.connect()
        tasks = [asyncio.create_task(session.run()), asyncio.create_task(session.keep_alive())]
        try:
            await session.begin()
            yield session
        finally:
            try:
                await session.end()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
