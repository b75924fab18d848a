"""LiveKit's webhooks are believed if they are signed, new, and of the body that came."""

import itertools
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from cloudslice.faults import Faults
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.livekit.access_token import body_hash, make_access_token
from cloudslice.rooms.livekit.livekit_webhooks import LivekitWebhooks, livekit_webhooks_app
from cloudslice.rooms.remote.room_watch import RoomWatch
from cloudslice.settings.room_settings import LivekitSettings
from helpers.room_news import News
from helpers.slice_store import ManualClock

SECRET = "secretsecretsecretsecretsecretse"
SETTINGS = LivekitSettings.model_validate(
    {"url": "ws://x", "api_key": "key", "api_secret": SECRET, "room_name": "r-{RoomId}"}
)
ROOM = RoomKey(7, "150", RoomIdType.STRING)
ALICE = {"identity": "alice", "permission": {"hidden": False}}
EVENT = {
    "event": "participant_joined",
    "id": "EV_1",
    "room": {"name": "r-150", "sid": "RM_1"},
    "participant": ALICE,
}


@dataclass
class Site:
    client: httpx.AsyncClient
    clock: ManualClock
    news: News

    async def post(
        self,
        event: Any = EVENT,
        *,
        app: str = "7",
        key: str = "key",
        secret: str = SECRET,
        signed: bytes | None = None,
    ) -> httpx.Response:
        """Post an event, signed now; `signed` is another body that the token is for."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        token = make_access_token(
            key,
            secret,
            {},
            now_s=self.clock.utc_ms() / 1000,
            lifetime_s=300,
            sha256=body_hash(body if signed is None else signed),
        )
        return await self.send(body, token, app)

    async def send(self, body: bytes, token: str, app: str = "7") -> httpx.Response:
        return await self.client.post(
            f"/{app}",
            content=body,
            headers={"Authorization": token, "Content-Type": "application/webhook+json"},
        )


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock, news = ManualClock(), News()

    async def list_rooms() -> dict[RoomKey, bool]:
        return {}

    watch = RoomWatch(7, list_rooms, news, Faults("test"))
    types = frozenset({RoomIdType.STRING})
    receiver = LivekitWebhooks(7, SETTINGS, types, watch, clock)
    app = livekit_webhooks_app({7: receiver}, timeout_s=5)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield Site(client, clock, news)


_numbers = itertools.count(2)


def event(kind: str, sid: str = "RM_1", name: str = "r-150", **more: Any) -> dict[str, Any]:
    """An event of an id of its own."""
    return {
        "event": kind,
        "id": f"EV_{next(_numbers)}",
        "room": {"name": name, "sid": sid},
    } | more


async def test_who_comes_or_sends_makes_a_room_active(site: Site) -> None:
    for kind in ("participant_joined", "track_published"):
        assert (await site.post(event(kind, participant=ALICE))).status_code == 200
    assert site.news.heard == [("active", ROOM)] * 2


@pytest.mark.parametrize(
    "webhook",
    [
        pytest.param(event("room_started"), id="nobody is there yet"),
        pytest.param(event("participant_left", participant=ALICE), id="leaves"),
        pytest.param(
            event("participant_joined", participant={"permission": {"hidden": True}}), id="hidden"
        ),
        pytest.param(event("participant_joined", name="other"), id="no room of ours"),
        pytest.param({}, id="empty"),
        pytest.param({"event": 5, "room": 7, "participant": []}, id="odd"),
    ],
)
async def test_what_says_nothing_of_a_room(site: Site, webhook: dict[str, Any]) -> None:
    """It is taken, so that LiveKit does not send it again."""
    assert (await site.post(webhook)).status_code == 200
    assert site.news.heard == []


async def test_a_room_ends(site: Site) -> None:
    await site.post(event("room_finished"))
    assert site.news.heard == [("ended", ROOM)]


async def test_an_end_that_comes_late_is_not_that_of_the_next_room(site: Site) -> None:
    await site.post(event("participant_joined", sid="RM_2", participant=ALICE))
    await site.post(event("room_finished", sid="RM_1"))
    assert site.news.heard == [("active", ROOM)]
    await site.post(event("room_finished", sid="RM_2"))
    assert site.news.heard == [("active", ROOM), ("ended", ROOM)]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"secret": "another secret"}, "its signature does not fit"),
        ({"key": "other"}, "it was made with another API key"),
        ({"signed": b"{}"}, "it was made for another body"),
    ],
)
async def test_what_is_not_signed_for_it_has_no_effect(
    site: Site, more: dict[str, Any], expected: str
) -> None:
    answer = await site.post(**more)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert expected in answer.json()["detail"]
    assert site.news.heard == []


async def test_nobody_else_has_a_body_read(site: Site) -> None:
    """However long it is."""
    answer = await site.post(b"x" * 1_100_000, secret="another secret")
    assert answer.status_code == 401


async def test_a_token_without_a_hash_and_no_token(site: Site) -> None:
    now_s = site.clock.utc_ms() / 1000
    token = make_access_token("key", SECRET, {"roomJoin": True}, now_s=now_s, lifetime_s=300)
    body = json.dumps(EVENT).encode()
    assert (await site.send(body, token)).status_code == 401
    assert (await site.send(body, "")).status_code == 401
    assert site.news.heard == []


async def test_what_was_recorded_and_is_sent_again_has_no_effect(site: Site) -> None:
    """Within the token's time it is known; after that, it has expired."""
    assert (await site.post()).status_code == 200
    body = json.dumps(EVENT).encode()
    token = make_access_token(
        "key",
        SECRET,
        {},
        now_s=site.clock.utc_ms() / 1000,
        lifetime_s=300,
        sha256=body_hash(body),
    )
    assert (await site.send(body, token)).status_code == 200
    site.clock.now += 400
    late = await site.send(body, token)
    assert (late.status_code, late.json()["detail"]) == (
        401,
        "the token in Authorization: it has expired",
    )
    assert site.news.heard == [("active", ROOM)]


@pytest.mark.parametrize("app", ["8", "x", "07"])
async def test_an_app_without_rules(site: Site, app: str) -> None:
    answer = await site.post(app=app)
    assert answer.status_code == 404
    assert f"app {app} has no auto_tasks" in answer.json()["detail"]


async def test_bodies_that_cannot_be(site: Site) -> None:
    assert (await site.post(b"no JSON")).status_code == 400
    assert (await site.post(b"[]")).status_code == 400
    assert (await site.post(b"x" * 1_100_000)).status_code == 413
    assert (await site.client.get("/7")).status_code == 405
