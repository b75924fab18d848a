"""LiveKit's own server answers our questions as `LivekitRoomApi` understands them."""

from collections.abc import Iterator

import pytest
from livekit.api import AccessToken, CreateRoomRequest, ListParticipantsRequest, VideoGrants

from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.livekit.names import LivekitNames
from cloudslice.rooms.livekit.room_api import LivekitRoomApi
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice.settings.room_settings import LivekitSettings
from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import API_KEY, API_SECRET, LivekitProcess
from helpers.waiting import eventually

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)
SILENT = AnchorSpec(tone_hz=None, video=None)


@pytest.fixture(scope="module")
def livekit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivekitProcess]:
    with LivekitProcess(tmp_path_factory.mktemp("livekit")) as process:
        yield process


def settings(livekit: LivekitProcess, **more: str) -> LivekitSettings:
    values = {"url": livekit.url, "api_key": API_KEY, "api_secret": API_SECRET}
    return LivekitSettings.model_validate(values | more)


def api(livekit: LivekitProcess, **more: str) -> LivekitRoomApi:
    return LivekitRoomApi(settings(livekit, **more), SystemClock())


async def test_a_room_is_there_or_not(livekit: LivekitProcess) -> None:
    assert not await api(livekit).exists(ROOM)
    async with livekit.api() as theirs:
        await theirs.room.create_room(CreateRoomRequest(name="prod-150"))
    assert not await api(livekit).exists(ROOM)
    assert await api(livekit, room_name="prod-{RoomId}").exists(ROOM)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"api_key": "APIWrong"}, "does not know this api_key"),
        ({"api_secret": "x" * 32}, "knows this api_key, but api_secret is not its secret"),
    ],
)
async def test_a_wrong_key_and_a_wrong_secret(
    livekit: LivekitProcess, more: dict[str, str], expected: str
) -> None:
    with pytest.raises(RoomEntryError, match=expected) as error:
        await api(livekit, **more).exists(ROOM)
    assert API_SECRET not in str(error.value)


async def test_tls_to_a_server_without_it(livekit: LivekitProcess) -> None:
    url = livekit.url.replace("ws://", "wss://")
    with pytest.raises(UnreachableError, match="does not speak TLS on this port: try ws:"):
        await api(livekit, url=url).exists(ROOM)


async def test_a_path_that_is_not_livekits(livekit: LivekitProcess) -> None:
    with pytest.raises(UnreachableError, match=r"does not answer as LiveKit does .*404"):
        await api(livekit, url=f"{livekit.url}/elsewhere").exists(ROOM)


async def test_members_are_put_out_and_the_room_is_ended(livekit: LivekitProcess) -> None:
    """By their UserIds; who is hidden, as our own member is, stays."""
    ghost = AccessToken(API_KEY, API_SECRET).with_identity("ghost")
    ghost = ghost.with_grants(VideoGrants(room_join=True, room="150", hidden=True))
    zhang = LivekitNames(settings(livekit)).to_user_id("张伟@example.com")
    ours = api(livekit)
    async with (
        livekit.api() as theirs,
        livekit_anchor(livekit.url, livekit.token("150", "ann"), "ann", SILENT),
        livekit_anchor(livekit.url, livekit.token("150", "张伟@example.com"), "zhang", SILENT),
        livekit_anchor(livekit.url, livekit.token("150", "bob"), "bob", SILENT) as bob,
        livekit_anchor(livekit.url, ghost.to_jwt(), "ghost", SILENT),
    ):
        assert await ours.exists(ROOM)
        assert await ours.has_user(ROOM, zhang)
        assert not await ours.has_user(ROOM, "ghost")

        async def members() -> set[str]:
            answer = await theirs.room.list_participants(ListParticipantsRequest(room="150"))
            return {each.identity for each in answer.participants}

        await ours.remove_users(ROOM, ["ann", zhang, "ghost", "nobody"])
        assert await members() - {"ghost"} == {"bob"}
        await ours.dismiss(ROOM)
        await eventually(lambda: not bob.room.isconnected())
        await ours.dismiss(ROOM)
    assert not await ours.exists(ROOM)
