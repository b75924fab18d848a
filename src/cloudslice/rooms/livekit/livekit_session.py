"""Our session with a LiveKit server: signalling that is resumed when it is lost."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog
from livekit.protocol import models, rtc

from cloudslice.clock import Clock
from cloudslice.rooms.livekit.livekit_signalling import (
    Signalling,
    SignallingLostError,
    open_signalling,
)
from cloudslice.rooms.remote.room_server import UnreachableError

_PROTOCOL = 15
"""Of signalling. With 16 the server may move us to another room."""
_RESUME_S = 30.0
"""So long it is tried; the server forgets us sooner or later."""
_RESUME_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 4.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class VisitPlace:
    """Where a visit takes place."""

    url: str
    """Of the server."""
    token: str
    """The access token."""
    exists: Callable[[], Awaitable[bool]]
    """Whether the server has the room; raises UnreachableError, RoomEntryError."""
    log_fields: Mapping[str, object]
    """The room's, in each line of the log."""


class LivekitSession:
    """See the module.

    Args:
        place: where.
        take: is given each message of the server; what it raises ends the session.
        clock: for time-outs.
    """

    def __init__(
        self, place: VisitPlace, take: Callable[[rtc.SignalResponse], None], clock: Clock
    ) -> None:
        self._place, self._token, self._log_fields = place, place.token, place.log_fields
        self._take = take
        self._clock = clock
        self._signalling: Signalling | None = None
        self._sid = ""
        """What the server calls us."""

    @property
    def is_connected(self) -> bool:
        """Whether there is signalling now."""
        return self._signalling is not None

    def send(self, request: rtc.SignalRequest) -> None:
        """Have a message sent, if there is signalling."""
        if self._signalling is not None:
            self._signalling.send(request)

    async def run(self, offer: rtc.SessionDescription, is_worth_it: Callable[[], bool]) -> None:
        """Join the room, and go by what comes, until signalling is lost and not to be resumed. When
        cancelled, say goodbye.

        Args:
            offer: the first one.
            is_worth_it: whether signalling that is lost is to be resumed.

        Raises:
            RoomEntryError, UnreachableError: the server does not let us in.
        """
        await self._connect(_join_request(publisher_offer=offer))
        lost_at, pause_s = self._clock.monotonic(), _RESUME_PAUSE_S
        while self._clock.monotonic() - lost_at < _RESUME_S and is_worth_it():
            try:
                if not await self._place.exists():
                    return  # who resumes in a room that has ended makes it again
                await self._connect(_join_request(reconnect=True, participant_sid=self._sid))
                lost_at, pause_s = self._clock.monotonic(), _RESUME_PAUSE_S
            except UnreachableError as error:
                _log.info("signalling is not resumed yet", reason=str(error), **self._log_fields)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _connect(self, join: rtc.JoinRequest) -> None:
        """Connect signalling, and go by what comes until it is lost."""
        async with open_signalling(self._place.url, self._token, join) as signalling:
            self._signalling = signalling
            writing = asyncio.create_task(signalling.write())
            try:
                self._read(signalling.first)
                while True:
                    self._read(await signalling.receive())
            except SignallingLostError as error:
                _log.info("signalling is lost", reason=str(error), **self._log_fields)
            except asyncio.CancelledError:
                await signalling.say_goodbye()
                raise
            finally:
                self._signalling = None
                writing.cancel()
                await asyncio.wait([writing])

    def _read(self, response: rtc.SignalResponse) -> None:
        """What a session needs to know itself; the rest is for others."""
        if response.HasField("join"):
            self._sid = response.join.participant.sid
        elif response.HasField("refresh_token"):
            self._token = response.refresh_token
        self._take(response)


def _join_request(**more: object) -> rtc.JoinRequest:
    return rtc.JoinRequest(
        client_info=models.ClientInfo(protocol=_PROTOCOL),
        connection_settings=rtc.ConnectionSettings(
            auto_subscribe=False, adaptive_stream=False, subscriber_allow_pause=False
        ),
        **more,  # type: ignore[arg-type]
    )
