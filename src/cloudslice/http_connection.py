"""One HTTP connection, and how many there may be.

uvicorn bounds how long a connection may be idle, and nothing else. Here

1. a request's head must be there in time, counted from the connection or from its first byte;
2. so must its body, also one that nobody reads;
3. a client must take its answers in time;
4. the number of connections is bounded, in all and for each address. A new one takes the place of
   the one that has been idle longest; where none is idle, it is answered with 503.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection
from enum import Enum
from http import HTTPStatus
from typing import Any

import h11
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from cloudslice.config import HttpSettings

_GRACE_S = 5.0
"""What the application has to answer a body that is late, before its connection is closed."""
_CLOSE_S = 10.0
"""What a client has to take the last bytes of a connection."""
_LOG_EVERY_S = 60.0

_log = structlog.get_logger(__name__)


class Stage(Enum):
    """What a connection waits for."""

    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    NOTHING = "nothing"
    """It is idle between two requests."""
    END = "end"


class Gate:
    """Admits connections while there are not too many of them.

    Args:
        limits: how many there may be.
        is_proxy: tells whether many clients come from an address: they share the bound on all.
    """

    def __init__(self, limits: HttpSettings, is_proxy: Callable[[str], bool]) -> None:
        self._limits = limits
        self._is_proxy = is_proxy
        self._all: set[LimitedConnection] = set()
        self._by_host: defaultdict[str, set[LimitedConnection]] = defaultdict(set)
        self._refused = 0
        self._logged_at = -_LOG_EVERY_S

    def enter(self, connection: "LimitedConnection") -> bool:
        """Whether `connection` may stay; if so, it must `leave` at its end."""
        host = connection.host
        is_admitted = self._has_room(self._all, self._limits.connections) and (
            self._is_proxy(host)
            or self._has_room(self._by_host[host], self._limits.connections_per_address)
        )
        if is_admitted:
            self._all.add(connection)
            self._by_host[host].add(connection)
        else:
            self._forget_host(host)
            self._note_refusal(host)
        return is_admitted

    def leave(self, connection: "LimitedConnection") -> None:
        """`connection` counts no longer; harmless if it never did."""
        self._all.discard(connection)
        self._by_host[connection.host].discard(connection)
        self._forget_host(connection.host)

    def _has_room(self, connections: Collection["LimitedConnection"], limit: int) -> bool:
        if len(connections) < limit:
            return True
        idle = [each for each in connections if each.idle_since is not None]
        if not idle:
            return False
        oldest = min(idle, key=lambda each: each.idle_since or 0.0)
        oldest.end()
        self.leave(oldest)
        return True

    def _forget_host(self, host: str) -> None:
        if not self._by_host[host]:
            del self._by_host[host]

    def _note_refusal(self, host: str) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            _log.warning(
                "HTTP connections refused: there are too many",
                times=self._refused,
                last_from=host,
                connections=len(self._all),
            )
            self._logged_at, self._refused = now, 0


class LimitedConnection(H11Protocol):
    """uvicorn's connection with deadlines, behind a `Gate`.

    Attributes:
        idle_since: the event loop's second at which it became idle; None while it is not.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: HttpSettings,
        gate: Gate,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.idle_since: float | None = None
        self._gate = gate
        self._stage = Stage.NOTHING
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._answer_s = limits.body_timeout_s
        self._seconds = {
            Stage.HEAD: limits.header_timeout_s,
            Stage.BODY: limits.body_timeout_s + _GRACE_S,
            Stage.END: _CLOSE_S,
        }

    @property
    def host(self) -> str:
        """The IP address of the other side; empty if it has none."""
        return self.client[0] if self.client else ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._gate.enter(self):
            self._wait_for(Stage.HEAD)
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, (b"retry-after", b"5"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        self._wait_for(Stage.NOTHING)
        self._stop_stalled()
        super().connection_lost(exc)
        # uvicorn leaves it armed where the connection broke.
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_stalled()
        self._stalled = self.loop.call_later(self._answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_stalled()
        super().resume_writing()

    def end(self) -> None:
        """Close an idle connection."""
        self.timeout_keep_alive_handler()
        self._follow()

    def _follow(self) -> None:
        """Wait for what is to come next."""
        state = self.conn.their_state
        if self.transport.is_closing():
            self._wait_for(Stage.END)
        elif state is h11.SEND_BODY:
            self._wait_for(Stage.BODY)
        elif state is not h11.IDLE:
            self._wait_for(Stage.ANSWER)
        elif self._stage is not Stage.HEAD:
            self._wait_for(Stage.HEAD if self.conn.trailing_data[0] else Stage.NOTHING)

    def _wait_for(self, stage: Stage) -> None:
        if stage is self._stage:
            return
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self._stage = stage
        self.idle_since = self.loop.time() if stage is Stage.NOTHING else None
        if stage in self._seconds:
            self._deadline = self.loop.call_later(self._seconds[stage], self._on_late)
        elif stage is Stage.NOTHING and self.timeout_keep_alive_task is None:
            # The rest of a body that came after its answer has ended uvicorn's own waiting.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _on_late(self) -> None:
        if self._stage is Stage.HEAD and self.conn.trailing_data[0]:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif self._stage is Stage.END:
            self.transport.abort()
        else:
            self.transport.close()
            self._follow()

    def _refuse(self, status: HTTPStatus, *headers: tuple[bytes, bytes]) -> None:
        """Answer to something that is no whole request, and close."""
        text = status.phrase.encode() + b"\n"
        given = [
            *self.server_state.default_headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(text)).encode()),
            (b"connection", b"close"),
            *headers,
        ]
        for event in (
            h11.Response(status_code=status, headers=given, reason=status.phrase),
            h11.Data(data=text),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._follow()

    def _stop_stalled(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
