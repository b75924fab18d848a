"""What CreateCloudSliceTask demands of UserSig and PrivateMapKey (docs/wire.md, 11)."""

from typing import Any

import pytest

from cloudslice.identity.private_map_key import Privilege, make_private_map_key
from cloudslice.ids import RoomIdType, RoomKey
from helpers.api_calls import altered, create
from helpers.api_fakes import (
    APP,
    APP_KEY,
    NOW,
    OTHER_APP,
    ROBOT,
    STRICT_APP,
    GatewayBench,
    create_parameters,
    user_sig,
)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("nonsense", id="nonsense"),
        pytest.param(user_sig(OTHER_APP), id="other-app"),
        pytest.param(user_sig(user_id="somebody"), id="other-user"),
        pytest.param(user_sig(now_s=NOW - 86400), id="expired"),
        pytest.param(user_sig(now_s=NOW + 301), id="from-the-future"),
    ],
)
async def test_a_user_sig_that_proves_nothing_is_refused(bench: GatewayBench, token: str) -> None:
    answer = await create(bench, create_parameters() | {"UserSig": token})
    assert answer.code == "InvalidParameter.UserSig"
    assert bench.tasks.created == []


def ticket(app: int = APP, privileges: Privilege = Privilege.ALL, **changes: Any) -> str:
    room = RoomKey(app, changes.get("room_id", "150"), RoomIdType.NUMBER)
    return make_private_map_key(
        APP_KEY, room, changes.get("user_id", ROBOT), privileges, now_s=NOW, lifetime_s=600
    )


ENTER = Privilege.ENTER_ROOM
HEAR, SEE, OPEN = Privilege.RECEIVE_AUDIO, Privilege.RECEIVE_VIDEO, Privilege.CREATE_ROOM


@pytest.mark.parametrize(
    ("slice_type", "room_exists", "privileges", "is_enough"),
    [
        pytest.param(3, True, ENTER | HEAR | SEE, True, id="both"),
        pytest.param(3, True, ENTER | HEAR, False, id="both-cannot-see"),
        pytest.param(3, True, ENTER | SEE, False, id="both-cannot-hear"),
        pytest.param(3, True, HEAR | SEE, False, id="cannot-enter"),
        pytest.param(1, True, ENTER | HEAR, True, id="audio"),
        pytest.param(1, True, ENTER | SEE, False, id="audio-cannot-hear"),
        pytest.param(2, True, ENTER | SEE, True, id="video"),
        pytest.param(2, True, ENTER | HEAR, False, id="video-cannot-see"),
        pytest.param(1, False, ENTER | HEAR, False, id="may-not-open-the-room"),
        pytest.param(1, False, ENTER | HEAR | OPEN, True, id="may-open-the-room"),
    ],
)
async def test_a_private_map_key_must_permit_the_slicing(
    bench: GatewayBench, slice_type: int, room_exists: bool, privileges: Privilege, is_enough: bool
) -> None:
    if room_exists:
        bench.rooms.rooms.add(RoomKey(APP, "150", RoomIdType.NUMBER))
    parameters = altered("SliceParams.SliceType", slice_type)
    answer = await create(bench, parameters | {"PrivateMapKey": ticket(privileges=privileges)})
    assert answer.code == (None if is_enough else "FailedOperation")


@pytest.mark.parametrize("app", [APP, STRICT_APP])
@pytest.mark.parametrize(
    "changes", [{"room_id": "151"}, {"user_id": "somebody"}, {"app": OTHER_APP}], ids=repr
)
async def test_a_private_map_key_for_something_else_is_refused(
    bench: GatewayBench, app: int, changes: dict[str, Any]
) -> None:
    """Whether the app demands one or not."""
    key = ticket(**({"app": app} | changes))
    answer = await create(bench, create_parameters(app) | {"PrivateMapKey": key})
    assert answer.code == "FailedOperation"
    assert "`PrivateMapKey`" in answer.message


async def test_an_app_may_demand_a_private_map_key(bench: GatewayBench) -> None:
    parameters = create_parameters(STRICT_APP)
    answer = await create(bench, parameters)
    assert answer.code == "FailedOperation"
    assert "`PrivateMapKey`" in answer.message
    answer = await create(bench, parameters | {"PrivateMapKey": ticket(STRICT_APP)})
    assert answer.code is None


async def test_why_a_token_is_refused_is_said_in_chinese_too(bench: GatewayBench) -> None:
    expired = create_parameters() | {"UserSig": user_sig(now_s=NOW - 86400)}
    answer = await bench.call("CreateCloudSliceTask", expired, {"X-TC-Language": "zh-CN"})
    assert answer.message == "`UserSig` 无效：已过期。"
