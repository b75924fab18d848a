"""What is asked of the VideoRoom plugin from outside of its rooms (janus_videoroom.c)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cloudslice.codecs.catalog import CATALOG
from cloudslice.rooms.janus.janus_channel import JanusAddress, Message
from cloudslice.rooms.janus.janus_errors import NO_SUCH_FEED, NO_SUCH_ROOM, ROOM_EXISTS, JanusError
from cloudslice.rooms.janus.roster import Feed, FeedId
from cloudslice.rooms.janus.session import JanusSession, open_session
from cloudslice.settings.room_settings import JanusSettings

RoomId = int | str
"""A room's id at Janus."""

_MOST_PUBLISHERS = 1000


class RoomRequests:
    """The requests on one handle. All raise JanusError where Janus refuses, and UnreachableError.

    Args:
        session: with Janus.
        handle: which has joined no room.
        settings: with the secrets that some requests take.
    """

    def __init__(self, session: JanusSession, handle: int, settings: JanusSettings) -> None:
        self.session = session
        self._handle = handle
        self._settings = settings

    async def exists(self, room: RoomId) -> bool:
        """Whether there is such a room."""
        return bool((await self._ask("exists", room)).get("exists"))

    async def rooms(self) -> list[Message]:
        """All rooms, in Janus's words; private ones only where there is an admin_key."""
        listed = await self._ask("list", None, self._admin)
        return [each for each in listed.get("list") or [] if "room" in each]

    async def participants(self, room: RoomId) -> list[tuple[Feed, bool]]:
        """Who is in a room, each with whether he publishes."""
        listed = await self._ask("listparticipants", room)
        return [
            (Feed(each["id"], str(each.get("display") or ""), ()), bool(each.get("publisher")))
            for each in listed.get("participants") or []
        ]

    async def has_publisher(self, room: RoomId) -> bool:
        """Whether anybody publishes in a room; not if it has just ended."""
        try:
            return any(publishes for _, publishes in await self.participants(room))
        except JanusError as error:
            if error.code != NO_SUCH_ROOM:
                raise
            return False

    async def create(self, room: RoomId) -> None:
        """Make a room; harmless when it is there."""
        body: Message = {
            "permanent": False,
            "publishers": _MOST_PUBLISHERS,
            "audiocodec": "opus",
            "videocodec": ",".join(each.name.lower() for each in CATALOG.video),
        }
        try:
            await self._ask("create", room, body | self._pin | self._secret | self._admin)
        except JanusError as error:
            if error.code != ROOM_EXISTS:
                raise

    async def kick(self, room: RoomId, feed: FeedId) -> None:
        """Put somebody out of a room; harmless when he has left."""
        try:
            await self._ask("kick", room, {"id": feed} | self._secret)
        except JanusError as error:
            if error.code != NO_SUCH_FEED:
                raise

    async def destroy(self, room: RoomId) -> None:
        """End a room."""
        await self._ask("destroy", room, self._secret)

    async def check_pin(self, room: RoomId) -> None:
        """Raises JanusError: there is no such room, or the pin is wrong. Nobody enters: to
        subscribe to nobody is refused, but later than these."""
        nobody: FeedId = "-" if self._settings.string_ids else 1
        body: Message = {"ptype": "subscriber", "streams": [{"feed": nobody}]}
        try:
            await self._ask("join", room, body | self._pin)
        except JanusError as error:
            if error.code != NO_SUCH_FEED:
                raise

    async def _ask(self, request: str, room: RoomId | None, more: Message | None = None) -> Message:
        body: Message = {"request": request} | ({} if room is None else {"room": room})
        return (await self.session.message(self._handle, body | (more or {}))).data

    @property
    def _pin(self) -> Message:
        pin = self._settings.pin.get_secret_value()
        return {"pin": pin} if pin else {}

    @property
    def _secret(self) -> Message:
        secret = self._settings.room_secret.get_secret_value()
        return {"secret": secret} if secret else {}

    @property
    def _admin(self) -> Message:
        admin_key = self._settings.admin_key.get_secret_value()
        return {"admin_key": admin_key} if admin_key else {}


async def begin_requests(session: JanusSession, settings: JanusSettings) -> RoomRequests:
    """Requests on a new handle of a session. Raises JanusError, UnreachableError."""
    return RoomRequests(session, await session.attach(_ignore), settings)


@asynccontextmanager
async def room_requests(
    address: JanusAddress, settings: JanusSettings
) -> AsyncIterator[RoomRequests]:
    """Requests in a session of their own. Raises JanusError, UnreachableError."""
    async with open_session(address) as session:
        yield await begin_requests(session, settings)


def _ignore(_message: Message) -> None:
    pass
