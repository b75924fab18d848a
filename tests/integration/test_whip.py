"""Every answer of the WHIP endpoint (RFC 9725)."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from cloudslice import node
from cloudslice.clock import SystemClock
from cloudslice.config import HttpSettings, Settings
from cloudslice.identity.private_map_key import Privilege, make_private_map_key
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.node import open_node
from cloudslice.rooms.builtin import whip
from cloudslice.rooms.builtin.publication import Publication
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.rooms.builtin.whip import whip_app
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.udp.port import UdpPort
from helpers.media_port import media_port
from helpers.offers import CASES
from helpers.peer import Peer
from helpers.room_observer import make_bus

APP, STRICT_APP, FOREIGN_APP = 1400000001, 1400000002, 1400000003
KEY = "k" * 64
ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)
URL = f"/whip/{APP}/1/150/anchor"
FRAGMENT = "application/trickle-ice-sdpfrag"
ICE_LINES = "a=ice-ufrag:newufrag\r\na=ice-pwd:newpasswordnewpasswordnew\r\n"
ALL = Privilege(255)
BUNDLE_ONLY_OFFER = CASES["video-unknown-first+audio-bundle-only"]


def settings(**rtc: object) -> Settings:
    return Settings.model_validate(
        {
            "apps": [
                {"sdk_app_id": APP, "secret_key": KEY},
                {"sdk_app_id": STRICT_APP, "secret_key": KEY, "private_map_key_required": True},
                {
                    "sdk_app_id": FOREIGN_APP,
                    "secret_key": KEY,
                    "rooms": "janus",
                    "janus": {"url": "ws://janus.example.com"},
                },
            ],
            "rtc": rtc,
        }
    )


class Endpoint:
    """The application, and a client of it."""

    def __init__(self, rooms: BuiltinRooms, http: httpx.AsyncClient) -> None:
        self.rooms = rooms
        self.http = http

    async def publish(
        self,
        url: str = URL,
        *,
        offer: str | bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        sig: str | None = None,
    ) -> httpx.Response:
        given = {
            "Content-Type": "application/sdp",
            "Authorization": f"Bearer {sig if sig is not None else user_sig('anchor')}",
        }
        content = Peer().offer if offer is None else offer
        return await self.http.post(url, content=content, headers={**given, **(headers or {})})

    async def patch(self, location: str, body: str, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.patch(
            location, content=body, headers={"Content-Type": FRAGMENT, **given}
        )


def user_sig(user_id: str, app: int = APP, *, now_s: float | None = None) -> str:
    return make_user_sig(KEY, app, user_id, now_s=now_s or time.time(), lifetime_s=86400)


@pytest.fixture
async def rooms() -> AsyncIterator[BuiltinRooms]:
    clock = SystemClock()
    with media_port(clock, "192.0.2.1") as (port, tick):
        yield BuiltinRooms(port, settings().rtc, clock, tick, make_bus())


def rooms_with(rooms: BuiltinRooms, configured: Settings) -> BuiltinRooms:
    """Others on the same port."""
    return BuiltinRooms(rooms._port, configured.rtc, SystemClock(), rooms._tick, make_bus())


async def open_endpoint(rooms: BuiltinRooms, configured: Settings) -> AsyncIterator[Endpoint]:
    app = Starlette(routes=[Mount("/whip", whip_app(configured, rooms, SystemClock()))])
    # An unforeseen exception fails the test; it is not turned into a 500.
    transport = httpx.ASGITransport(app, raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Endpoint(rooms, http)


@pytest.fixture
async def endpoint(rooms: BuiltinRooms) -> AsyncIterator[Endpoint]:
    async for opened in open_endpoint(rooms, settings()):
        yield opened


async def test_201_has_all_that_a_client_needs(endpoint: Endpoint) -> None:
    """The answer, where the session is, and the name of its ICE session (4.2)."""
    response = await endpoint.publish()
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/sdp"
    assert re.fullmatch(re.escape(URL) + r"/[\w-]{22}", response.headers["location"])
    assert re.fullmatch(r'"[^"]+"', response.headers["etag"])
    assert response.headers["accept-patch"] == FRAGMENT
    assert "link" not in response.headers
    assert response.text.startswith("v=0\r\n")
    assert "a=recvonly\r\n" in response.text
    assert " 192.0.2.1 " in response.text


async def test_string_room_ids_come_percent_encoded(endpoint: Endpoint) -> None:
    """And go so into the Location."""
    url = f"/whip/{APP}/0/a%20room%3F%23/anchor"
    response = await endpoint.publish(url)
    assert response.status_code == 201
    assert response.headers["location"].startswith(url + "/")
    assert endpoint.rooms.holds_user(RoomKey(APP, "a room?#", RoomIdType.STRING), "anchor")
    assert (await endpoint.http.delete(response.headers["location"])).status_code == 200


async def test_ice_servers_come_as_links(rooms: BuiltinRooms) -> None:
    """4.6: one for each that is configured, with OPTIONS too."""
    configured = settings(ice_servers=["stun:stun.example.net", "turn:turn.example.net?a=b"])
    async for endpoint in open_endpoint(rooms, configured):
        for response in (await endpoint.publish(), await endpoint.http.options(URL)):
            assert response.headers["link"] == (
                '<stun:stun.example.net>; rel="ice-server", '
                '<turn:turn.example.net?a=b>; rel="ice-server"'
            )


async def test_200_delete_ends_the_session_once(endpoint: Endpoint) -> None:
    """The second time there is nothing to delete."""
    location = (await endpoint.publish()).headers["location"]
    assert (await endpoint.http.delete(location)).status_code == 200
    assert not endpoint.rooms.holds_user(ROOM, "anchor")
    assert (await endpoint.http.delete(location)).status_code == 404


async def test_204_trickle(endpoint: Endpoint) -> None:
    """A lite agent needs no candidates; they are taken politely."""
    response = await endpoint.publish()
    body = ICE_LINES + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=end-of-candidates\r\n"
    for tag in (response.headers["etag"], f'"other", {response.headers["etag"]}'):
        trickled = await endpoint.patch(response.headers["location"], body, If_Match=tag)
        assert trickled.status_code == 204


async def test_200_ice_restart(endpoint: Endpoint) -> None:
    """4.3.3: new credentials, and a new name of the ICE session."""
    response = await endpoint.publish()
    location = response.headers["location"]
    restarted = await endpoint.patch(location, ICE_LINES, If_Match="*")
    assert restarted.status_code == 200
    assert restarted.headers["content-type"] == FRAGMENT
    assert restarted.headers["etag"] != response.headers["etag"]
    lines = restarted.text.split("\r\n")
    ufrag = restarted.headers["etag"].strip('"')
    assert f"a=ice-ufrag:{ufrag}" in lines
    assert any(line.startswith("a=ice-pwd:") for line in lines)
    assert "a=mid:0" in lines
    assert any(line.startswith("a=candidate:1 1 udp") for line in lines)
    stale = await endpoint.patch(location, ICE_LINES, If_Match=response.headers["etag"])
    assert stale.status_code == 412


async def test_204_trickle_of_clients_that_name_no_ice_session(endpoint: Endpoint) -> None:
    """`If-Match: *` with the credentials as before: nothing is new, also after a restart."""
    offer = Peer().offer
    response = await endpoint.publish(offer=offer)
    location, tag = response.headers["location"], response.headers["etag"]
    first = dict(line.split(":", 1) for line in offer.splitlines() if line.startswith("a=ice-"))
    lines = f"a=ice-ufrag:{first['a=ice-ufrag']}\r\na=ice-pwd:{first['a=ice-pwd']}\r\n"
    body = (
        lines + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 udp 1 x 9 typ host\r\n"
    )
    assert (await endpoint.patch(location, body, If_Match="*")).status_code == 204
    assert (await endpoint.patch(location, lines, If_Match=tag)).status_code == 204
    assert (await endpoint.patch(location, ICE_LINES, If_Match="*")).status_code == 200
    assert (await endpoint.patch(location, ICE_LINES, If_Match="*")).status_code == 204
    assert (await endpoint.patch(location, lines, If_Match="*")).status_code == 200


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(ICE_LINES, {}, 428, id="no If-Match"),
        pytest.param(ICE_LINES, {"If_Match": '"other"'}, 412, id="another ICE session"),
        pytest.param("a=ice-ufrag:x", {"If_Match": "*"}, 400, id="restart without password"),
        pytest.param("", {"If_Match": "*"}, 400, id="restart with nothing"),
        pytest.param("x", {"Content_Type": "text/plain", "If_Match": "*"}, 415, id="other type"),
        pytest.param("x" * 70000, {"If_Match": "*"}, 413, id="too long"),
    ],
)
async def test_patches_that_are_refused(
    endpoint: Endpoint, body: str, headers: dict[str, str], status: int
) -> None:
    """The session goes on as it was."""
    response = await endpoint.publish()
    refused = await endpoint.patch(response.headers["location"], body, **headers)
    assert_problem(refused, status)
    trickled = await endpoint.patch(
        response.headers["location"], "", If_Match=response.headers["etag"]
    )
    assert trickled.status_code == 204


@pytest.mark.parametrize(
    ("offer", "status"),
    [
        pytest.param("", 400, id="empty"),
        pytest.param("nonsense", 400, id="no SDP"),
        pytest.param(b"\xff\xfe", 400, id="not UTF-8"),
        pytest.param(Peer().offer.replace("a=ice-pwd", "a=x"), 400, id="incomplete"),
        pytest.param("v" * 70000, 413, id="too long"),
        pytest.param(Peer().offer.replace("opus", "x").replace("VP8", "y"), 422, id="codecs"),
        pytest.param(Peer().offer.replace("a=sendonly", "a=recvonly"), 422, id="WHEP"),
        pytest.param(BUNDLE_ONLY_OFFER, 422, id="transport refused"),
    ],
)
async def test_offers_that_are_refused(endpoint: Endpoint, offer: str | bytes, status: int) -> None:
    """With the reason; nobody is in the room."""
    assert_problem(await endpoint.publish(offer=offer), status)
    assert not endpoint.rooms.holds_user(ROOM, "anchor")


async def test_a_body_that_does_not_come_is_not_waited_for_forever(rooms: BuiltinRooms) -> None:
    async def cut_off() -> AsyncIterator[bytes]:
        yield b"v=0"
        await asyncio.get_running_loop().create_future()

    configured = settings().model_copy(update={"http": HttpSettings(body_timeout_s=0.05)})
    async for endpoint in open_endpoint(rooms, configured):
        refused = await endpoint.publish(offer=cut_off())
        assert_problem(refused, 408)
        assert refused.headers["connection"] == "close"


async def test_415_says_what_is_taken(endpoint: Endpoint) -> None:
    """Parameters of the right type do not matter."""
    refused = await endpoint.publish(headers={"Content-Type": "application/json"})
    assert_problem(refused, 415)
    assert refused.headers["accept-post"] == "application/sdp"
    taken = await endpoint.publish(headers={"Content-Type": "Application/SDP; charset=utf-8"})
    assert taken.status_code == 201


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("", id="none"),
        pytest.param("Basic YTpi", id="other scheme"),
        pytest.param("Bearer", id="no token"),
        pytest.param("Bearer nonsense", id="nonsense"),
        pytest.param("Bearer \xff\xfe", id="binary"),
        pytest.param("Bearer " + "A" * 20000, id="long"),
        pytest.param("Bearer " + user_sig("someone-else"), id="another's"),
        pytest.param("Bearer " + user_sig("anchor", STRICT_APP), id="of another app"),
        pytest.param("Bearer " + user_sig("anchor", now_s=1e9), id="expired"),
    ],
)
async def test_401_without_a_good_user_sig(endpoint: Endpoint, authorization: str) -> None:
    """Before anything of the body is looked at."""
    refused = await endpoint.http.post(
        URL, content="nonsense", headers={"Authorization": authorization.encode("latin-1")}
    )
    assert_problem(refused, 401)
    assert refused.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("/whip/1/1/150/anchor", id="unknown app"),
        pytest.param(f"/whip/{FOREIGN_APP}/1/150/anchor", id="app with other rooms"),
        pytest.param("/whip/x/1/150/anchor", id="app that is no number"),
        pytest.param(f"/whip/{'9' * 5000}/1/150/anchor", id="app that is a huge number"),
        pytest.param(f"/whip/{APP}/2/150/anchor", id="unknown type"),
        pytest.param(f"/whip/{APP}/1/0/anchor", id="room 0"),
        pytest.param(f"/whip/{APP}/1/room/anchor", id="text for a number"),
        pytest.param(f"/whip/{APP}/0/{'r' * 65}/anchor", id="long room"),
        pytest.param(f"/whip/{APP}/1/150/an%20chor", id="bad user"),
        pytest.param(f"/whip/{APP}/1/150/{'u' * 33}", id="long user"),
    ],
)
async def test_404_of_what_cannot_be(endpoint: Endpoint, url: str) -> None:
    """With the rule that it breaks."""
    assert_problem(await endpoint.publish(url), 404)


async def test_404_of_sessions_that_are_not(endpoint: Endpoint) -> None:
    """For every method."""
    await endpoint.publish()
    for method in ("DELETE", "PATCH"):
        assert_problem(await endpoint.http.request(method, URL + "/unknown"), 404)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_405_of_other_methods(endpoint: Endpoint, method: str, slash: str) -> None:
    """On the endpoint and on sessions (4.1), with all that are allowed (RFC 9110, 15.5.6)."""
    location = (await endpoint.publish()).headers["location"]
    for url, allowed in (
        (URL, {"OPTIONS", "POST"}),
        (location, {"DELETE", "OPTIONS", "PATCH"}),
    ):
        refused = await endpoint.http.request(method, url + slash)
        assert refused.status_code == 405
        assert refused.headers["content-type"] == "application/problem+json"
        assert set(refused.headers["allow"].split(", ")) == allowed


async def test_a_slash_at_the_end_makes_no_difference(endpoint: Endpoint) -> None:
    """Some clients add one; a redirection would name a host and a scheme that a proxy hides."""
    response = await endpoint.publish(URL + "/")
    assert response.status_code == 201
    location = response.headers["location"]
    assert location.startswith(URL + "/")
    trickled = await endpoint.patch(location + "/", "", If_Match=response.headers["etag"])
    assert trickled.status_code == 204
    assert (await endpoint.http.delete(location + "/")).status_code == 200


@pytest.mark.parametrize(
    ("prefix", "begin"),
    [
        pytest.param("/media", "/media/whip/", id="one"),
        pytest.param("/a/b-c.d/", "/a/b-c.d/whip/", id="of two segments"),
        pytest.param("https://example.org", "/whip/", id="no path"),
        pytest.param("//example.org", "/whip/", id="another host"),
        pytest.param("/a?b", "/whip/", id="no segment"),
    ],
)
async def test_sessions_are_under_the_prefix_of_a_proxy(
    endpoint: Endpoint, prefix: str, begin: str
) -> None:
    """Which it names by X-Forwarded-Prefix; what is no path is not believed."""
    response = await endpoint.publish(headers={"X-Forwarded-Prefix": prefix})
    assert response.headers["location"].startswith(f"{begin}{APP}/1/150/anchor/")


async def test_leading_zeros_of_a_room_number_do_not_count(endpoint: Endpoint) -> None:
    """As in the API: room 0150 is room 150."""
    response = await endpoint.publish(URL.replace("150", "0150"))
    assert response.status_code == 201
    assert endpoint.rooms.holds_user(ROOM, "anchor")
    assert response.headers["location"].startswith(URL + "/")


async def test_404_of_paths_that_are_none_of_whip(tmp_path: Path) -> None:
    """Never an answer of the API, which takes POST on any other path of a node."""
    configured = settings().model_copy(update={"data_dir": tmp_path, "apps": settings().apps[:2]})
    with patch.object(node, "UdpPort", lambda _udp_port, *given: UdpPort(0, *given)):
        async with open_node(configured) as opened:
            transport = httpx.ASGITransport(opened.app, raise_app_exceptions=True)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
                for path in ("", "/", f"/{APP}", f"/{APP}/1/150", f"/{APP}/1/150//", URL * 2):
                    for method in ("POST", "GET", "DELETE", "PATCH"):
                        answer = await http.request(method, "/whip" + path, content="v=0")
                        assert_problem(answer, 404)
                assert "RequestId" in (await http.post("/whipped")).text


async def test_409_while_a_robot_has_the_user_id(endpoint: Endpoint) -> None:
    """An anchor and a robot cannot be the same member."""

    class Deaf:
        def on_anchor_joined(self, anchor: object) -> None: ...
        def on_anchor_changed(self, anchor: object) -> None: ...
        def on_anchor_left(self, anchor: object) -> None: ...
        def on_evicted(self, code: object) -> None: ...

    attendance = await endpoint.rooms.enter(ROOM, "anchor", Deaf())
    assert_problem(await endpoint.publish(), 409)
    attendance.leave()
    assert (await endpoint.publish()).status_code == 201


@pytest.mark.parametrize(
    ("setting", "url", "sig", "status"),
    [
        pytest.param("user", URL.replace("150", "152"), user_sig("anchor"), 429, id="user"),
        pytest.param("app", URL[:-6] + "other", user_sig("other"), 429, id="app"),
        pytest.param("node", URL[:-6] + "other", user_sig("other"), 503, id="node"),
    ],
)
async def test_so_many_may_be_on_their_way(
    rooms: BuiltinRooms, setting: str, url: str, sig: str, status: int
) -> None:
    """Beyond it comes a status and a time; who tries anew where he was on his way may."""
    configured = settings(**{f"connecting_per_{setting}": 1})
    rooms = rooms_with(rooms, configured)
    async for endpoint in open_endpoint(rooms, configured):
        location = (await endpoint.publish()).headers["location"]
        refused = await endpoint.publish(url, sig=sig)
        assert_problem(refused, status)
        assert 0 < int(refused.headers["retry-after"]) <= 20
        assert f"connecting_per_{setting}" in refused.json()["detail"]
        again = await endpoint.publish()
        assert again.status_code == 201
        assert (await endpoint.http.delete(location)).status_code == 404
        await endpoint.http.delete(again.headers["location"])
        assert (await endpoint.publish(url, sig=sig)).status_code == 201


async def test_a_flood_of_offers_is_refused_before_they_are_read(
    rooms: BuiltinRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading an offer costs much more than refusing it."""
    configured = settings(connecting_per_user=1)
    rooms = rooms_with(rooms, configured)
    async for endpoint in open_endpoint(rooms, configured):
        await endpoint.publish()
        monkeypatch.setattr(whip, "parse_remote_description", None)
        assert_problem(await endpoint.publish(URL.replace("150", "151")), 429)


async def test_500_anchors_that_come_at_once_are_served(endpoint: Endpoint) -> None:
    """As after a restart; and between any two of their offers the loop does something else."""
    turns = [0]
    taken_in: list[int] = []
    publish = endpoint.rooms.publish

    def counted(*arguments: Any) -> tuple[Publication, str]:
        taken_in.append(turns[0])
        return publish(*arguments)

    async def turn() -> None:
        while True:
            turns[0] += 1
            await asyncio.sleep(0)

    endpoint.rooms.publish = counted  # type: ignore[method-assign]
    turning = asyncio.create_task(turn())
    names = [f"anchor-{number}" for number in range(500)]
    answers = await asyncio.gather(
        *(endpoint.publish(URL[:-6] + name, sig=user_sig(name)) for name in names)
    )
    turning.cancel()
    assert {answer.status_code for answer in answers} == {201}
    assert len(set(taken_in)) == 500


@pytest.mark.parametrize("step", ["publish", "end", "restart_ice"])
async def test_500_of_what_nobody_foresaw(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Counted and logged; nobody is left in the room by an offer that broke."""
    location = (await endpoint.publish()).headers["location"]

    def fail(*_given: object) -> None:
        raise ZeroDivisionError("a bug")

    broken = PeerConnection if step == "restart_ice" else endpoint.rooms
    monkeypatch.setattr(broken, step, fail)
    answers = {
        "publish": lambda: endpoint.publish(URL.replace("150", "151")),
        "end": lambda: endpoint.http.delete(location),
        "restart_ice": lambda: endpoint.patch(location, ICE_LINES, If_Match="*"),
    }
    assert_problem(await answers[step](), 500)
    assert endpoint.rooms.faults.errors == 1
    assert not endpoint.rooms.holds_user(RoomKey(APP, "151", RoomIdType.NUMBER), "anchor")


def map_key(privileges: Privilege, *, user_id: str = "anchor", app: int = STRICT_APP) -> str:
    room = RoomKey(app, "150", RoomIdType.NUMBER)
    return make_private_map_key(KEY, room, user_id, privileges, now_s=time.time(), lifetime_s=86400)


@pytest.mark.parametrize(
    ("key", "status"),
    [
        pytest.param(None, 403, id="missing"),
        pytest.param("nonsense", 403, id="nonsense"),
        pytest.param(map_key(ALL, user_id="other"), 403, id="another's"),
        pytest.param(map_key(ALL & ~Privilege.SEND_AUDIO), 403, id="without audio"),
        pytest.param(map_key(ALL & ~Privilege.SEND_VIDEO), 403, id="without video"),
        pytest.param(map_key(ALL & ~Privilege.CREATE_ROOM), 403, id="room not there yet"),
        pytest.param(map_key(ALL & ~Privilege.SEND_AUX), 201, id="without what is not sent"),
        pytest.param(map_key(ALL), 201, id="all"),
    ],
)
async def test_403_without_the_permission(endpoint: Endpoint, key: str | None, status: int) -> None:
    """Where the app wants a PrivateMapKey."""
    response = await endpoint.publish(
        f"/whip/{STRICT_APP}/1/150/anchor",
        sig=user_sig("anchor", STRICT_APP),
        headers={} if key is None else {"X-Private-Map-Key": key},
    )
    assert response.status_code == status
    if status == 403:
        assert_problem(response, 403)


async def test_a_private_map_key_that_is_given_must_be_good(endpoint: Endpoint) -> None:
    """Even where none is wanted."""
    assert_problem(await endpoint.publish(headers={"X-Private-Map-Key": "nonsense"}), 403)
    key = map_key(Privilege.ENTER_ROOM | Privilege.CREATE_ROOM | Privilege.SEND_AUDIO, app=APP)
    offer = Peer((TrackKind.AUDIO,)).offer
    response = await endpoint.publish(offer=offer, headers={"X-Private-Map-Key": key})
    assert response.status_code == 201


async def test_options_say_what_is_taken(endpoint: Endpoint) -> None:
    """4.2: Accept-Post, for clients that look before they send."""
    response = await endpoint.http.options(URL)
    assert response.status_code == 204
    assert response.headers["accept-post"] == "application/sdp"


async def test_browsers_of_any_origin_may_publish(endpoint: Endpoint) -> None:
    """The preflight allows what a publisher needs, and what it needs to read is shown."""
    location = (await endpoint.publish()).headers["location"]
    for url, method in ((URL, "POST"), (location, "PATCH"), (location, "DELETE")):
        preflight = await endpoint.http.options(
            url,
            headers={
                "Origin": "https://example.org",
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": (
                    "authorization, content-type, if-match, x-private-map-key, x-anything"
                ),
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "*"
        assert method in preflight.headers["access-control-allow-methods"]
    for response in (
        await endpoint.publish(headers={"Origin": "https://example.org"}),
        await endpoint.publish(headers={"Origin": "https://example.org"}, offer="x"),
    ):
        assert response.headers["access-control-allow-origin"] == "*"
        exposed = response.headers["access-control-expose-headers"]
        assert {"Location", "Link", "ETag", "Accept-Patch"} <= set(exposed.split(", "))


def assert_problem(response: httpx.Response, status: int) -> None:
    """RFC 9457: machines and people can read what was wrong."""
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["detail"]
