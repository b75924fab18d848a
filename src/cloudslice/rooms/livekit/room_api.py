"""What LiveKit's RoomService does for us: rooms looked up, members put out, rooms ended.

It is called as Twirp with JSON (https://twitchtv.github.io/twirp/docs/spec_v7.html). Answers are
for people who have just typed in a URL and a key: each failure says what is wrong, in a sentence
without secrets. The server's own text of a refusal is never shown, as the token stands in it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import aiohttp
from pydantic_core import from_json
from yarl import URL

from cloudslice.clock import Clock
from cloudslice.http_client import HeadFirstConnector, find_proxy
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.livekit.access_token import make_access_token
from cloudslice.rooms.livekit.livekit_failures import explain_refusal
from cloudslice.rooms.livekit.names import LivekitNames
from cloudslice.rooms.remote.connection_failures import explain_failure
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice.settings.room_settings import LivekitSettings

_ANSWER_S = 3.5
"""The API's caller has its answer within 6 s, and `RemoteRooms` waits for 4."""
_TOKEN_S = 60
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A room takes some 1.5 kB in a list."""
_SCHEMES = {"ws": "http", "wss": "https"}


class _NotFoundError(Exception):
    """The server knows no such room or member."""


class LivekitRoomApi:
    """The RoomService of one app's server. It keeps no connection: it is called rarely.

    All methods raise UnreachableError, and RoomEntryError where the key or secret is wrong.
    """

    def __init__(self, settings: LivekitSettings, clock: Clock) -> None:
        url = URL(settings.url)
        self._url = url.with_scheme(_SCHEMES.get(url.scheme, url.scheme)) / "twirp"
        self._shown = f"the LiveKit server {url.origin()}"
        self._api_key = settings.api_key
        self._api_secret = settings.api_secret
        self._names = LivekitNames(settings)
        self._clock = clock

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomServer`."""
        return bool(await self.list_rooms([self._names.to_room_name(room)]))

    async def has_user(self, room: RoomKey, user_id: str) -> bool:
        """Whether somebody whom others see is in a room under this UserId."""
        identities = await self._list_identities(self._names.to_room_name(room))
        return any(self._names.to_user_id(each) == user_id for each in identities)

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """See `RoomServer`. Hidden members are not put out: nobody sees them."""
        name = self._names.to_room_name(room)
        for identity in await self._list_identities(name):
            if self._names.to_user_id(identity) in user_ids:
                await self._remove(name, identity)

    async def dismiss(self, room: RoomKey) -> None:
        """See `RoomServer`."""
        name = self._names.to_room_name(room)
        with suppress(_NotFoundError):  # it has just ended by itself
            await self._call("DeleteRoom", {"room": name}, {"roomCreate": True})

    async def list_rooms(self, names: Sequence[str] = ()) -> list[Mapping[str, Any]]:
        """The rooms of these names, all if there are none, as LiveKit describes them: `name`,
        `sid`, `num_participants`, `num_publishers` and more."""
        answer = await self._call("ListRooms", {"names": list(names)}, {"roomList": True})
        return self._read_list(answer, "rooms", "name")

    async def _list_identities(self, room_name: str) -> list[str]:
        grants = {"roomAdmin": True, "room": room_name}
        try:
            answer = await self._call("ListParticipants", {"room": room_name}, grants)
        except _NotFoundError:  # it has just ended by itself
            return []
        members = self._read_list(answer, "participants", "identity")
        return [each["identity"] for each in members if not _is_hidden(each)]

    async def _remove(self, room_name: str, identity: str) -> None:
        with suppress(_NotFoundError):  # it has just left by itself
            await self._call(
                "RemoveParticipant",
                {"room": room_name, "identity": identity},
                {"roomAdmin": True, "room": room_name},
            )

    def _read_list(
        self, answer: Mapping[str, Any], member: str, text: str
    ) -> list[Mapping[str, Any]]:
        found = answer.get(member) or []
        if not isinstance(found, list) or not all(
            isinstance(each, dict) and isinstance(each.get(text), str) for each in found
        ):
            raise self._not_livekit("its answer is of another form")
        return found

    async def _call(
        self, method: str, request: Mapping[str, object], grants: Mapping[str, object]
    ) -> Mapping[str, Any]:
        url = self._url / "livekit.RoomService" / method
        token = make_access_token(
            self._api_key,
            self._api_secret.get_secret_value(),
            grants,
            now_s=self._clock.utc_ms() / 1000,
            lifetime_s=_TOKEN_S,
        )
        try:
            async with (
                asyncio.timeout(_ANSWER_S),
                aiohttp.ClientSession(connector=HeadFirstConnector(keep_idle_s=0)) as session,
                session.post(
                    url,
                    json=request,
                    headers={"Authorization": f"Bearer {token}"},
                    proxy=find_proxy(url),
                    allow_redirects=False,
                ) as response,
            ):
                return self._read(response.status, await self._read_body(response))
        except TimeoutError as error:
            raise UnreachableError(f"{self._shown} gave no answer in {_ANSWER_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnreachableError(f"{self._shown} {explain_failure(error)}") from error

    async def _read_body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > _MAX_ANSWER_BYTES:
                raise self._not_livekit("its answer does not end")
        return bytes(body)

    def _read(self, status: int, body: bytes) -> Mapping[str, Any]:
        """What an answer says.

        Raises:
            RoomEntryError, UnreachableError, _NotFoundError
        """
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            reason = explain_refusal(body)
            if reason is None:
                raise self._not_livekit(f"it answered with HTTP status {status}")
            raise RoomEntryError(f"{self._shown} {reason}")
        try:
            answer = from_json(body)
        except ValueError:
            answer = None
        if status == HTTPStatus.OK and isinstance(answer, dict):
            return answer
        code = answer.get("code") if isinstance(answer, dict) else None
        if code == "not_found":
            raise _NotFoundError
        if isinstance(code, str) and code != "bad_route":
            text = str(answer.get("msg", ""))[:200] if isinstance(answer, dict) else ""
            raise UnreachableError(f"{self._shown} answered with the error {code}: {text}")
        raise self._not_livekit(f"it answered with HTTP status {status}")

    def _not_livekit(self, why: str) -> UnreachableError:
        return UnreachableError(
            f"{self._shown} does not answer as LiveKit does ({why}): is the URL right?"
        )


def _is_hidden(member: Mapping[str, Any]) -> bool:
    permission = member.get("permission")
    return isinstance(permission, dict) and permission.get("hidden") is True
