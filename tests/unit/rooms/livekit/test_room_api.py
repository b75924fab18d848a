"""LiveKit's RoomService, and the sentence for each way in which it can fail."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.livekit import room_api
from cloudslice.rooms.livekit.access_token import verify_access_token
from cloudslice.rooms.livekit.room_api import LivekitRoomApi
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice.settings.room_settings import LivekitSettings
from helpers.certificates import PrivateAuthority
from helpers.scripted_http import ScriptedHttp, respond, scripted_http

ROOM = RoomKey(1, "150", RoomIdType.NUMBER)
SECRET = "TOPSECRETTOPSECRETTOPSECRETTOPSE"


def api_at(port: int, scheme: str = "ws", path: str = "", **more: str) -> LivekitRoomApi:
    url = f"{scheme}://127.0.0.1:{port}{path}"
    return LivekitRoomApi(
        LivekitSettings.model_validate(
            {"url": url, "api_key": "key", "api_secret": SECRET, "room_name": "r-{RoomId}"} | more
        ),
        SystemClock(),
    )


def answer_by_method(answers: dict[str, object], site: ScriptedHttp) -> None:
    """Have each method of RoomService answered."""
    site.answer = lambda path, _headers, _body: respond(
        200, json.dumps(answers[path.rpartition("/")[2]]).encode()
    )


async def test_a_room_that_is_there() -> None:
    """It is asked for by its name, with a token that may list rooms and nothing else."""
    async with scripted_http() as site:
        answer_by_method({"ListRooms": {"rooms": [{"name": "r-150", "sid": "RM"}]}}, site)
        assert await api_at(site.port, path="/base").exists(ROOM)
    [(path, headers, body)] = site.requests
    assert path == "/base/twirp/livekit.RoomService/ListRooms"
    assert json.loads(body) == {"names": ["r-150"]}
    token = headers["authorization"].removeprefix("Bearer ")
    claims = verify_access_token(token, "key", SECRET, now_s=SystemClock().utc_ms() / 1000)
    assert claims["video"] == {"roomList": True}


async def test_a_room_that_is_not_there() -> None:
    async with scripted_http() as site:
        answer_by_method({"ListRooms": {}}, site)
        assert not await api_at(site.port).exists(ROOM)


async def test_members_are_put_out_by_their_user_ids() -> None:
    """Those of the list, whatever LiveKit calls them; nobody who is hidden."""
    members = [
        {"identity": "alice"},
        {"identity": "bob@example.com"},
        {"identity": "carol"},
        {"identity": "ghost", "permission": {"hidden": True}},
    ]
    answers = {"ListParticipants": {"participants": members}, "RemoveParticipant": {}}
    async with scripted_http() as site:
        answer_by_method(answers, site)
        api = api_at(site.port)
        bob = api._names.to_user_id("bob@example.com")
        await api.remove_users(ROOM, ["alice", bob, "ghost", "nobody"])
    calls = [(path.rpartition("/")[2], json.loads(body)) for path, _, body in site.requests]
    assert calls == [
        ("ListParticipants", {"room": "r-150"}),
        ("RemoveParticipant", {"room": "r-150", "identity": "alice"}),
        ("RemoveParticipant", {"room": "r-150", "identity": "bob@example.com"}),
    ]


async def test_a_room_that_ends_meanwhile_is_ended() -> None:
    async with scripted_http() as site:
        site.answer = lambda *_: respond(404, b'{"code":"not_found","msg":"no such room"}')
        await api_at(site.port).dismiss(ROOM)
    assert [json.loads(body) for _, _, body in site.requests] == [{"room": "r-150"}]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"invalid API key: key", "does not know this api_key"),
        (
            b"invalid token: eyJh.TOPSECRET.x, error: go-jose: error in cryptographic primitive",
            "knows this api_key, but api_secret is not its secret",
        ),
        (b"invalid token: x, error: token is expired (exp)", "do the clocks differ?"),
        (b'{"code":"unauthenticated","msg":"permissions denied"}', "refuses this api_key"),
    ],
)
async def test_a_refusal_says_what_is_wrong(body: bytes, expected: str) -> None:
    """Another try does not help; the server's text, which has the token in it, is not shown."""
    async with scripted_http() as site:
        site.answer = lambda *_: respond(401, body, "text/plain")
        with pytest.raises(RoomEntryError) as error:
            await api_at(site.port).exists(ROOM)
        assert str(error.value).startswith(f"the LiveKit server ws://127.0.0.1:{site.port} ")
    assert expected in str(error.value)
    assert "TOPSECRET" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(
            respond(404, b"<html>", "text/html"),
            "does not answer as LiveKit does (it answered with HTTP status 404): is the URL right?",
            id="another site",
        ),
        pytest.param(
            respond(200, b"<html>", "text/html"),
            "does not answer as LiveKit does (it answered with HTTP status 200): is the URL right?",
            id="a site for everything",
        ),
        pytest.param(
            respond(302, b""),
            "(it answered with HTTP status 302): is the URL right?",
            id="redirect",
        ),
        pytest.param(
            respond(404, b'{"code":"bad_route","msg":"no handler"}'),
            "does not answer as LiveKit does",
            id="another service of this kind",
        ),
        pytest.param(
            respond(200, b'{"rooms":[{"name":5}]}'),
            "(its answer is of another form): is the URL right?",
            id="another form",
        ),
        pytest.param(respond(200, b'{"rooms":7}'), "(its answer is of another form)", id="no list"),
        pytest.param(
            respond(503, b'{"code":"unavailable","msg":"no response from servers"}'),
            "answered with the error unavailable: no response from servers",
            id="broken inside",
        ),
        pytest.param(b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP as it should", id="no HTTP"),
        pytest.param(b"", "has closed the connection without an answer", id="closed"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{",
            "does not speak HTTP as it should",
            id="cut off",
        ),
    ],
)
async def test_what_is_no_answer_says_why(answer: bytes, expected: str) -> None:
    async with scripted_http() as site:
        site.answer = lambda *_: answer
        with pytest.raises(UnreachableError) as error:
            await api_at(site.port).exists(ROOM)
    assert expected in str(error.value)
    assert SECRET not in str(error.value)


async def test_a_server_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match="cannot be reached: Connection refused"):
            await api_at(probe.getsockname()[1]).exists(ROOM)


async def test_a_host_that_nobody_knows() -> None:
    api = api_at(1, url="wss://livekit.invalid")
    with pytest.raises(UnreachableError, match="its host name is not known"):
        await api.exists(ROOM)


async def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    async with scripted_http(PrivateAuthority(tmp_path).issue("127.0.0.1")) as site:
        with pytest.raises(UnreachableError, match=r"cannot be trusted: .*certificate"):
            await api_at(site.port, "wss").exists(ROOM)


async def test_a_port_without_tls() -> None:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(respond(400, b""))
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(UnreachableError, match="does not speak TLS on this port: try ws://"):
            await api_at(port, "wss").exists(ROOM)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_by_what_is_no_livekit_server(status: int) -> None:
    """It says nothing of our key."""
    async with scripted_http() as site:
        site.answer = lambda *_: respond(status, b"<html>Forbidden</html>", "text/html")
        with pytest.raises(UnreachableError, match=f"HTTP status {status}.*: is the URL right"):
            await api_at(site.port).exists(ROOM)


async def test_silence_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room_api, "_ANSWER_S", 0.2)
    async with scripted_http() as site:
        site.is_silent = True
        async with asyncio.timeout(4):
            with pytest.raises(UnreachableError, match=r"gave no answer in 0\.2 s"):
                await api_at(site.port).exists(ROOM)
