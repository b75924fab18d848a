"""The official clients against the gateway on a real port: they succeed, and where they fail it is
with their own exception and the right code (docs/wire.md, 13)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cloudslice.api.gateway import Gateway
from cloudslice.api.http_exchange import Receive, Scope, Send
from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.slicing.params import SubscriptionLists
from cloudslice.tasks.model import TooManyTasksError
from helpers.api_fakes import (
    APP,
    KEYS,
    TASK_ID,
    FakeEvents,
    FakeRooms,
    FakeTasks,
    create_parameters,
    make_settings,
    user_sig,
)
from helpers.asgi_server import serving_in_thread
from helpers.client_programs import ClientProgram, Result
from helpers.official_clients import EVERY_WAY, SHA1, SHA256, TC3, OfficialClient, Setup
from helpers.signing import KeyPair

TASK = {"SdkAppId": APP, "TaskId": TASK_ID}
DESCRIBE = "DescribeCloudSliceTask"

# More than ten: names are signed in the order of their text, so `.10` and `.11` come before `.2`.
MANY = tuple(f"user_{number}.*$" for number in range(12))
LISTS = {"SubscribeAudioUserIds": list(MANY), "UnSubscribeVideoUserIds": ["u3"]}
PARSED_LISTS = SubscriptionLists(audio_allow=MANY, video_block=("u3",))

Programs = Mapping[str, ClientProgram]


@dataclass
class Server:
    """A gateway on a port, and the fakes behind it."""

    port: int
    tasks: FakeTasks
    rooms: FakeRooms

    async def called_by(
        self,
        client: OfficialClient,
        action: str,
        parameters: Any,
        keys: KeyPair = KEYS,
        *,
        host: str = "127.0.0.1",
        path: str = "",
        **changes: Any,
    ) -> Result:
        endpoint = f"{host}:{self.port}{path}"
        return await client.call(endpoint, keys, action, parameters, **changes)


class Served:
    """What answers at the port, another gateway in each test: starting a server takes longer."""

    gateway: Gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.gateway(scope, receive, send)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Served, int]]:
    app = Served()
    with serving_in_thread(app) as port:
        yield app, port


@pytest.fixture
def server(served: tuple[Served, int]) -> Server:
    app, port = served
    tasks, rooms = FakeTasks(), FakeRooms()
    app.gateway = Gateway(make_settings(), tasks, rooms, FakeEvents(), SystemClock())
    return Server(port, tasks, rooms)


@pytest.fixture(params=[each.values for each in EVERY_WAY], ids=[each.id for each in EVERY_WAY])
def client(request: pytest.FixtureRequest, client_programs: Programs) -> OfficialClient:
    """Each client in each of its ways of signing."""
    return OfficialClient(client_programs, *request.param)


@pytest.fixture
def python(client_programs: Programs) -> OfficialClient:
    """For what one client can show for all."""
    return OfficialClient(client_programs, "python")


async def test_a_client_leads_a_task_from_its_start_to_its_end(
    server: Server, client: OfficialClient
) -> None:
    """Create, describe, modify and delete arrive as they were meant."""
    parameters = create_parameters() | {"UserSig": user_sig(now_s=time.time())}
    parameters["SliceParams"]["SubscribeStreamUserIds"] = LISTS
    created = await server.called_by(client, "CreateCloudSliceTask", parameters)
    assert created.code is None, created
    assert created.outputs["TaskId"] == TASK_ID
    spec = server.tasks.created[0]
    assert spec.room == RoomKey(APP, "150", RoomIdType.NUMBER)
    assert spec.bucket.prefix == ("prefix1",)
    assert spec.lists == PARSED_LISTS

    described = await server.called_by(client, DESCRIBE, TASK)
    assert described.outputs["Status"] == "InProgress"
    lists = TASK | {"SubscribeStreamUserIds": LISTS}
    modified = await server.called_by(client, "ModifyCloudSliceTask", lists)
    assert modified.code is None
    assert server.tasks.modified == [(APP, TASK_ID, PARSED_LISTS)]
    assert (await server.called_by(client, "DeleteCloudSliceTask", TASK)).code is None
    assert server.tasks.deleted == [(APP, TASK_ID)]


async def test_a_client_raises_its_own_exception_with_the_code(
    server: Server, client: OfficialClient
) -> None:
    """Of the request, of the caller, and of the state alike."""
    for parameters, keys, code in (
        (TASK | {"TaskId": "other"}, KEYS, "ResourceNotFound"),
        ({"SdkAppId": APP, "TaskId": ""}, KEYS, "MissingParameter.TaskId"),
        (TASK, replace(KEYS, secret_key="wrong"), "AuthFailure.SignatureFailure"),
        (TASK, replace(KEYS, secret_id="AKIDunknown"), "AuthFailure.SecretIdNotFound"),
    ):
        result = await server.called_by(client, DESCRIBE, parameters, keys)
        assert result.code == code
        assert result.message


async def test_a_client_manages_rooms(server: Server, client: OfficialClient) -> None:
    number = RoomKey(APP, "4294967294", RoomIdType.NUMBER)
    string = RoomKey(APP, "room #1 + <&> {=}~", RoomIdType.STRING)
    server.rooms.rooms = {number, string}
    for action, room, users in (
        ("RemoveUser", number, ("u1", "u2")),
        ("RemoveUserByStrRoomId", string, ("u1",)),
        ("DismissRoom", number, ()),
        ("DismissRoomByStrRoomId", string, ()),
    ):
        parameters = {"SdkAppId": APP, "RoomId": room.wire_id}
        named = parameters | ({"UserIds": list(users)} if users else {})
        result = await server.called_by(client, action, named)
        assert result.code is None, result
    assert server.rooms.removed == [(number, ("u1", "u2")), (string, ("u1",))]
    assert server.rooms.dismissed == [number, string]


# What only some clients do.


@pytest.mark.parametrize(
    "name", ["python", "python-intl", "tccli", "nodejs", "nodejs-intl", "java", "go"]
)
async def test_a_host_without_a_dot_is_an_endpoint(
    server: Server, client_programs: Programs, name: str
) -> None:
    """Node.js and Java take the service's name from it, with the port."""
    client = OfficialClient(client_programs, name)
    assert (await server.called_by(client, DESCRIBE, TASK, host="localhost")).code is None


async def test_an_endpoint_with_a_path_is_signed_without_it(
    server: Server, client_programs: Programs
) -> None:
    """Go alone sends it."""
    client = OfficialClient(client_programs, "go")
    assert (await server.called_by(client, DESCRIBE, TASK, path="/base")).code is None


@pytest.mark.parametrize(
    ("name", "setup"),
    [
        pytest.param("nodejs", TC3, id="nodejs-leaves-it-out"),
        pytest.param("nodejs-intl", TC3, id="nodejs-intl-sends-null"),
        pytest.param("nodejs-intl", SHA256, id="nodejs-intl-sha256-leaves-it-out"),
        pytest.param("go", replace(TC3, region=""), id="go-sends-nothing"),
        pytest.param("go-typed", replace(SHA256, region=""), id="go-sha256-signs-nothing"),
    ],
)
async def test_a_region_that_was_never_set_is_missing(
    server: Server, client_programs: Programs, name: str, setup: Setup
) -> None:
    client = OfficialClient(client_programs, name, setup)
    changes = {} if setup.region == "" else {"region": None}
    result = await server.called_by(client, DESCRIBE, TASK, **changes)
    assert result.code == "MissingParameter"
    assert "`Region`" in result.message


async def test_a_parameter_that_is_null_is_absent(
    server: Server, client_programs: Programs
) -> None:
    client = OfficialClient(client_programs, "nodejs")
    parameters = TASK | {"SubscribeStreamUserIds": None}
    assert (await server.called_by(client, "ModifyCloudSliceTask", parameters)).code is None
    assert server.tasks.modified == [(APP, TASK_ID, None)]


@pytest.mark.parametrize(
    ("name", "setup"),
    [
        pytest.param("python", TC3, id="python"),
        pytest.param("python", SHA256, id="python-sha256"),
        pytest.param("tccli", TC3, id="tccli"),
        pytest.param("nodejs", TC3, id="nodejs"),
        pytest.param("java", SHA1, id="java-sha1"),
        pytest.param("go", TC3, id="go"),
    ],
)
async def test_messages_are_in_the_clients_language(
    server: Server, client_programs: Programs, name: str, setup: Setup
) -> None:
    client = OfficialClient(client_programs, name, setup)
    result = await server.called_by(client, DESCRIBE, TASK | {"TaskId": ""}, language="zh-CN")
    assert "请求缺少必填参数 `TaskId`。" in result.message


# What one client can show for all.


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"region": ""}, "MissingParameter", id="no-region"),
        pytest.param({"region": "ap-tokyo"}, "UnsupportedRegion", id="region-not-served"),
        pytest.param({"region": "mars"}, "InvalidParameterValue", id="no-region-name"),
    ],
)
async def test_a_region_that_does_not_fit(
    server: Server, python: OfficialClient, changes: dict[str, Any], code: str
) -> None:
    assert (await server.called_by(python, DESCRIBE, TASK, **changes)).code == code


@pytest.mark.parametrize("megabytes", [10, 50])
async def test_a_client_that_sends_too_much_is_told_so(
    server: Server, python: OfficialClient, megabytes: int
) -> None:
    """It sends everything before it reads: the server must not hang up on it meanwhile."""
    huge = TASK | {"TaskId": "x" * megabytes * 1024 * 1024}
    assert (await server.called_by(python, DESCRIBE, huge)).code == "RequestSizeLimitExceeded"


async def test_the_concurrency_limit_has_its_code(server: Server, python: OfficialClient) -> None:
    server.tasks.failure = TooManyTasksError("500")
    parameters = create_parameters() | {"UserSig": user_sig(now_s=time.time())}
    result = await server.called_by(python, "CreateCloudSliceTask", parameters)
    assert result.code == "FailedOperation.RestrictedConcurrency"
    assert result.request_id
