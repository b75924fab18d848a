"""A gateway with fakes behind it: tasks and rooms that only remember what was asked of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx

from cloudslice.api.gateway import Gateway
from cloudslice.clock import Clock
from cloudslice.config import Settings
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomKey
from cloudslice.rooms.management import RoomNotFoundError
from cloudslice.slicing.params import ParamChanges, SubscriptionLists
from cloudslice.tasks.model import TaskNotFoundError, TaskSpec, TaskStatus
from cloudslice.webhooks.history import EventQuery, Page
from helpers.signing import KeyPair, flatten, multipart, tc3_headers, v1_fields

NOW = 1_700_000_000
APP = 1400000000
OTHER_APP = 1400000001
STRICT_APP = 1400000002
FORBIDDEN_APP = 1400000003
APP_KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
ROBOT = "slice_bot_150"
TASK_ID = "m9-EXAMPLE+TaskId.."
KEYS = KeyPair("AKIDEXAMPLEEXAMPLEEXAMPLEEXAMPLE0001", "ExampleSecretKeyExampleSecretKey0001")
HOST = "trtc.intl.tencentcloudapi.com"
BOUNDARY = "0123456789ABCdef0123456789ABCdef"


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_s: float = NOW

    def monotonic(self) -> float:
        return self.now_s

    def utc_ms(self, at: float | None = None) -> int:
        return round((self.now_s if at is None else at) * 1000)


@dataclass
class FakeTasks:
    """Remembers what it was told; raises `failure` instead where a test sets one."""

    created: list[TaskSpec] = field(default_factory=list)
    modified: list[tuple[int, str, SubscriptionLists | None]] = field(default_factory=list)
    changes: list[ParamChanges] = field(default_factory=list)
    """Of each of those calls."""
    deleted: list[tuple[int, str]] = field(default_factory=list)
    tasks: dict[tuple[int, str], TaskStatus] = field(
        default_factory=lambda: {(APP, TASK_ID): TaskStatus.IN_PROGRESS}
    )
    failure: Exception | None = None

    async def create(self, spec: TaskSpec) -> str:
        self._fail()
        self.created.append(spec)
        return TASK_ID

    def describe(self, sdk_app_id: int, task_id: str) -> TaskStatus:
        self._fail()
        self._find(sdk_app_id, task_id)
        return self.tasks[sdk_app_id, task_id]

    async def modify(
        self,
        sdk_app_id: int,
        task_id: str,
        lists: SubscriptionLists | None,
        changes: ParamChanges | None = None,
    ) -> None:
        self._fail()
        self._find(sdk_app_id, task_id)
        self.modified.append((sdk_app_id, task_id, lists))
        self.changes.append(changes or {})

    async def delete(self, sdk_app_id: int, task_id: str) -> None:
        self._fail()
        self._find(sdk_app_id, task_id)
        self.deleted.append((sdk_app_id, task_id))

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _find(self, sdk_app_id: int, task_id: str) -> None:
        if (sdk_app_id, task_id) not in self.tasks:
            raise TaskNotFoundError(task_id)


@dataclass
class FakeRooms:
    """Remembers what was done to which room."""

    rooms: set[RoomKey] = field(default_factory=set)
    removed: list[tuple[RoomKey, tuple[str, ...]]] = field(default_factory=list)
    dismissed: list[RoomKey] = field(default_factory=list)
    failure: Exception | None = None

    async def exists(self, room: RoomKey) -> bool:
        return room in self.rooms

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        self._enter(room)
        self.removed.append((room, tuple(user_ids)))

    async def dismiss(self, room: RoomKey) -> None:
        self._enter(room)
        self.dismissed.append(room)

    def _enter(self, room: RoomKey) -> None:
        if self.failure is not None:
            raise self.failure
        if room not in self.rooms:
            raise RoomNotFoundError(str(room))


@dataclass
class FakeEvents:
    """Remembers which events were asked for, and answers with `page`."""

    page: Page = field(default_factory=lambda: Page([], None))
    asked: list[tuple[EventQuery, int, int]] = field(default_factory=list)
    replayed: list[EventQuery] = field(default_factory=list)

    async def find(self, query: EventQuery, marker: int, limit: int) -> Page:
        self.asked.append((query, marker, limit))
        return self.page

    async def replay(self, query: EventQuery) -> int:
        self.replayed.append(query)
        return 7


def make_settings(**sections: Mapping[str, Any]) -> Settings:
    """Settings with four apps and one credential, which may not use FORBIDDEN_APP."""
    apps = [{"sdk_app_id": app, "secret_key": APP_KEY} for app in (APP, OTHER_APP, FORBIDDEN_APP)]
    strict = {"sdk_app_id": STRICT_APP, "secret_key": APP_KEY, "private_map_key_required": True}
    values: dict[str, Any] = {
        "apps": [*apps, strict],
        "credentials": [
            {
                "secret_id": KEYS.secret_id,
                "secret_key": KEYS.secret_key,
                "sdk_app_ids": [APP, OTHER_APP, STRICT_APP],
            }
        ],
    }
    return Settings.model_validate(values | sections)


def user_sig(sdk_app_id: int = APP, *, user_id: str = ROBOT, now_s: float = NOW) -> str:
    """A UserSig of one of the apps above."""
    return make_user_sig(APP_KEY, sdk_app_id, user_id, now_s=now_s, lifetime_s=86400)


def create_parameters(sdk_app_id: int = APP) -> dict[str, Any]:
    """The parameters of a valid CreateCloudSliceTask."""
    return {
        "SdkAppId": sdk_app_id,
        "RoomId": "150",
        "UserId": ROBOT,
        "UserSig": user_sig(sdk_app_id),
        "SliceParams": {"SliceType": 3, "MaxIdleTime": 30, "SliceAudio": 15, "SliceVideo": 5},
        "SliceStorageParams": {
            "CloudSliceStorage": {
                "Vendor": 0,
                "Region": "ap-guangzhou",
                "Bucket": "demo-1250000000",
                "AccessKey": "AKIDSTORAGE",
                "SecretKey": "StorageSecretKey",
                "FileNamePrefix": ["prefix1"],
            }
        },
        "RoomIdType": 1,
        "ResourceExpiredHour": 72,
    }


class GatewayCaller:
    """Signed calls to a gateway, without a network."""

    def __init__(self, gateway: Gateway, clock: Clock, client: tuple[str, int] = ("::1", 9)):
        self._clock = clock
        transport = httpx.ASGITransport(gateway, raise_app_exceptions=True, client=client)
        self.http = httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}")
        # httpx adds headers of its own to those of a test.
        self.http.headers.clear()

    async def send(
        self,
        method: str,
        headers: Mapping[str, str | None],
        *,
        content: bytes = b"",
        query: str = "",
    ) -> "Answer":
        """Send just this; a header that is None is left out."""
        given = {name: value for name, value in headers.items() if value is not None}
        request = self.http.build_request(
            method, f"/?{query}" if query else "/", headers=given, content=content
        )
        for name in list(request.headers):
            if name not in {given_name.lower() for given_name in given} | {"host"}:
                del request.headers[name]
        return Answer(await self.http.send(request))

    async def call(
        self, action: str, parameters: Any, headers: Mapping[str, str | None] | None = None
    ) -> "Answer":
        """Call with a JSON body, signed TC3; `headers` are put over the signed ones."""
        body = json.dumps(parameters).encode()
        return await self.call_raw(action, body, headers)

    async def call_raw(
        self, action: str, body: bytes, headers: Mapping[str, str | None] | None = None
    ) -> "Answer":
        """Call with these bytes for a JSON body, signed TC3."""
        signed = tc3_headers(KEYS, action, timestamp=self._now, host=HOST, body=body)
        return await self.send("POST", {**signed, **(headers or {})}, content=body)

    async def call_encoded(self, encoding: str, action: str, parameters: Any) -> "Answer":
        """Call with `encoding`: json, get, multipart, v1-get or v1-post."""
        now = self._now
        if encoding == "json":
            return await self.call(action, parameters)
        if encoding == "get":
            query = urlencode(flatten(parameters))
            form = "application/x-www-form-urlencoded"
            headers = tc3_headers(
                KEYS, action, timestamp=now, host=HOST, query=query, method="GET", content_type=form
            )
            return await self.send("GET", headers, query=query)
        if encoding == "multipart":
            body = multipart(parameters, BOUNDARY)
            content_type = f"multipart/form-data; boundary={BOUNDARY}"
            headers = tc3_headers(
                KEYS, action, timestamp=now, host=HOST, body=body, content_type=content_type
            )
            return await self.send("POST", headers, content=body)
        method = {"v1-get": "GET", "v1-post": "POST"}[encoding]
        fields = v1_fields(
            KEYS, action, flatten(parameters), timestamp=now, host=HOST, method=method
        )
        return await self.send_v1(method, fields)

    async def send_v1(self, method: str, fields: Mapping[str, str]) -> "Answer":
        """Send fields that are signed already, in the query of a GET or the form of a POST."""
        encoded = urlencode(fields)
        if method == "GET":
            return await self.send("GET", {}, query=encoded)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.send("POST", form, content=encoded.encode())

    @property
    def _now(self) -> int:
        return self._clock.utc_ms() // 1000


class GatewayBench(GatewayCaller):
    """A gateway over fakes, and signed calls to it."""

    def __init__(self, settings: Settings | None = None, client: tuple[str, int] = ("::1", 9)):
        self.tasks = FakeTasks()
        self.rooms = FakeRooms()
        self.clock = FakeClock()
        self.events = FakeEvents()
        self.gateway = Gateway(
            settings or make_settings(), self.tasks, self.rooms, self.events, self.clock
        )
        super().__init__(self.gateway, self.clock, client)


class Answer:
    """An answer of the gateway, whose envelope has been checked."""

    def __init__(self, response: httpx.Response) -> None:
        check_envelope(response)
        self.response = response
        self.body: dict[str, Any] = response.json()["Response"]

    @property
    def code(self) -> str | None:
        """The error's code; None on success."""
        return self.body["Error"]["Code"] if "Error" in self.body else None

    @property
    def message(self) -> str:
        """The error's message."""
        return str(self.body["Error"]["Message"])


def check_envelope(response: httpx.Response) -> None:
    """What every answer must look like (docs/wire.md, 3)."""
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    envelope = response.json()
    assert list(envelope) == ["Response"]
    request_id = envelope["Response"]["RequestId"]
    assert len(request_id) == 36
    assert request_id == request_id.lower()
    assert request_id[14] == "4"
    if "Error" in envelope["Response"]:
        assert set(envelope["Response"]) == {"Error", "RequestId"}
        assert set(envelope["Response"]["Error"]) == {"Code", "Message"}
        assert envelope["Response"]["Error"]["Message"]
