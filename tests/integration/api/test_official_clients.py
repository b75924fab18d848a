"""The official clients against the gateway on a real port: they succeed, and where they fail it is
with their own exception and the contract's code (contract A4, I)."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from cloudslice.api.gateway import Gateway
from cloudslice.clock import SystemClock
from cloudslice.rooms.base import RoomIdType, RoomKey
from cloudslice.slicing.params import SubscriptionLists
from cloudslice.tasks.model import TooManyTasksError
from helpers.api_fakes import (
    APP,
    KEYS,
    TASK_ID,
    FakeRooms,
    FakeTasks,
    create_parameters,
    make_settings,
    user_sig,
)
from helpers.asgi_server import serving
from helpers.official_clients import (
    Result,
    call_international_sdk,
    call_sdk,
    call_tccli,
    sdk_client,
)
from helpers.signing import KeyPair

TASK = {"SdkAppId": APP, "TaskId": TASK_ID}
LISTS = {"SubscribeAudioUserIds": ["u1", "u2.*$"], "UnSubscribeVideoUserIds": ["u3"]}
TC3, SHA1, SHA256 = "TC3-HMAC-SHA256", "HmacSHA1", "HmacSHA256"


@dataclass
class Server:
    """A gateway on a port, and the fakes behind it."""

    port: int
    tasks: FakeTasks
    rooms: FakeRooms


Call = Callable[[Server, KeyPair, str, dict[str, Any]], Awaitable[Result]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    tasks, rooms = FakeTasks(), FakeRooms()
    async with serving(Gateway(make_settings(), tasks, rooms, SystemClock())) as port:
        yield Server(port, tasks, rooms)


def python_sdk(**profile: Any) -> Call:
    async def call(server: Server, keys: KeyPair, action: str, parameters: Any) -> Result:
        return await call_sdk(sdk_client(server.port, keys, **profile), action, parameters)

    return call


def international_sdk(**profile: Any) -> Call:
    async def call(server: Server, keys: KeyPair, action: str, parameters: Any) -> Result:
        return await call_international_sdk(server.port, keys, action, parameters, **profile)

    return call


@pytest.fixture
def tccli(tmp_path: Path) -> Call:
    async def call(server: Server, keys: KeyPair, action: str, parameters: Any) -> Result:
        return await call_tccli(server.port, keys, action, parameters, tmp_path)

    return call


@pytest.fixture(
    params=[
        pytest.param(python_sdk(), id="python"),
        pytest.param(python_sdk(http_method="GET"), id="python-get"),
        pytest.param(python_sdk(unsigned_payload=True), id="python-unsigned-payload"),
        pytest.param(python_sdk(sign_method=SHA1), id="python-sha1"),
        pytest.param(python_sdk(sign_method=SHA256), id="python-sha256"),
        pytest.param(international_sdk(), id="python-intl"),
        pytest.param(international_sdk(http_method="GET"), id="python-intl-get"),
        pytest.param(international_sdk(sign_method=SHA256), id="python-intl-sha256"),
        pytest.param(None, id="tccli"),
    ]
)
def call(request: pytest.FixtureRequest, tccli: Call) -> Call:
    """Each client in each of its ways of signing."""
    chosen: Call = request.param or tccli
    return chosen


async def test_a_client_leads_a_task_from_its_start_to_its_end(server: Server, call: Call) -> None:
    """Create, describe, modify and delete arrive as they were meant."""
    parameters = create_parameters() | {"UserSig": user_sig(now_s=time.time())}
    parameters["SliceParams"]["SubscribeStreamUserIds"] = LISTS
    created = await call(server, KEYS, "CreateCloudSliceTask", parameters)
    assert created.code is None, created
    assert created.outputs["TaskId"] == TASK_ID
    spec = server.tasks.created[0]
    assert spec.room == RoomKey(APP, "150", RoomIdType.NUMBER)
    assert spec.bucket.prefix == ("prefix1",)
    lists = SubscriptionLists(audio_allow=("u1", "u2.*$"), video_block=("u3",))
    assert spec.lists == lists

    described = await call(server, KEYS, "DescribeCloudSliceTask", TASK)
    assert described.outputs["Status"] == "InProgress"
    modified = await call(
        server, KEYS, "ModifyCloudSliceTask", TASK | {"SubscribeStreamUserIds": LISTS}
    )
    assert modified.code is None
    assert server.tasks.modified == [(APP, TASK_ID, lists)]
    assert (await call(server, KEYS, "DeleteCloudSliceTask", TASK)).code is None
    assert server.tasks.deleted == [(APP, TASK_ID)]


async def test_a_client_raises_its_own_exception_with_the_code(server: Server, call: Call) -> None:
    """Of the request, of the caller, and of the state alike."""
    for parameters, keys, code in (
        (TASK | {"TaskId": "other"}, KEYS, "ResourceNotFound"),
        ({"SdkAppId": APP, "TaskId": ""}, KEYS, "MissingParameter.TaskId"),
        (TASK, replace(KEYS, secret_key="wrong"), "AuthFailure.SignatureFailure"),
        (TASK, replace(KEYS, secret_id="AKIDunknown"), "AuthFailure.SecretIdNotFound"),
    ):
        result = await call(server, keys, "DescribeCloudSliceTask", parameters)
        assert result.code == code
        assert result.message


async def test_a_client_manages_rooms(server: Server, call: Call) -> None:
    number = RoomKey(APP, "4294967294", RoomIdType.NUMBER)
    string = RoomKey(APP, "room #1 + {}", RoomIdType.STRING)
    server.rooms.rooms = {number, string}
    for action, room, users in (
        ("RemoveUser", number, ("u1", "u2")),
        ("RemoveUserByStrRoomId", string, ("u1",)),
        ("DismissRoom", number, ()),
        ("DismissRoomByStrRoomId", string, ()),
    ):
        parameters = {"SdkAppId": APP, "RoomId": room.wire_id}
        named = parameters | ({"UserIds": list(users)} if users else {})
        assert (await call(server, KEYS, action, named)).code is None
    assert server.rooms.removed == [(number, ("u1", "u2")), (string, ("u1",))]
    assert server.rooms.dismissed == [number, string]


# What only one way of calling can show; the Python SDK stands for all.


@pytest.mark.parametrize(
    ("profile", "code"),
    [
        pytest.param({"region": ""}, "MissingParameter", id="no-region"),
        pytest.param({"region": "ap-tokyo"}, "UnsupportedRegion", id="region-not-served"),
        pytest.param({"region": "mars"}, "InvalidParameterValue", id="no-region-name"),
        pytest.param({"token": "x"}, "AuthFailure.TokenFailure", id="unknown-token"),
        pytest.param(
            {"token": "x", "sign_method": SHA1}, "AuthFailure.TokenFailure", id="unknown-token-v1"
        ),
    ],
)
async def test_a_profile_that_does_not_fit(
    server: Server, profile: dict[str, Any], code: str
) -> None:
    result = await call_sdk(
        sdk_client(server.port, KEYS, **profile), "DescribeCloudSliceTask", TASK
    )
    assert result.code == code


@pytest.mark.parametrize("sign_method", [TC3, SHA256])
async def test_messages_are_in_the_clients_language(server: Server, sign_method: str) -> None:
    client = sdk_client(server.port, KEYS, language="zh-CN", sign_method=sign_method)
    result = await call_sdk(client, "DescribeCloudSliceTask", {"SdkAppId": APP})
    assert result.message == "请求缺少必填参数 `TaskId`。"


@pytest.mark.parametrize("megabytes", [10, 50])
async def test_a_client_that_sends_too_much_is_told_so(server: Server, megabytes: int) -> None:
    """It sends everything before it reads: the server must not hang up on it meanwhile."""
    huge = TASK | {"TaskId": "x" * megabytes * 1024 * 1024}
    result = await call_sdk(sdk_client(server.port, KEYS), "DescribeCloudSliceTask", huge)
    assert result.code == "RequestSizeLimitExceeded"


async def test_the_concurrency_limit_has_its_code(server: Server) -> None:
    server.tasks.failure = TooManyTasksError("500")
    parameters = create_parameters() | {"UserSig": user_sig(now_s=time.time())}
    result = await call_sdk(sdk_client(server.port, KEYS), "CreateCloudSliceTask", parameters)
    assert result.code == "FailedOperation.RestrictedConcurrency"
    assert result.request_id


async def test_a_burst_is_refused_with_the_code_that_clients_retry_on() -> None:
    apps = [{"sdk_app_id": APP, "secret_key": "k", "limits": {"requests_per_second": 1}}]
    keys = {"secret_id": KEYS.secret_id, "secret_key": KEYS.secret_key, "sdk_app_ids": [APP]}
    settings = make_settings(apps=apps, credentials=[keys])
    gateway = Gateway(settings, FakeTasks(), FakeRooms(), SystemClock())
    async with serving(gateway) as port:
        client = sdk_client(port, KEYS)
        calls = (call_sdk(client, "DescribeCloudSliceTask", TASK) for _ in range(8))
        codes = [result.code for result in await asyncio.gather(*calls)]
    assert set(codes) == {None, "RequestLimitExceeded"}
