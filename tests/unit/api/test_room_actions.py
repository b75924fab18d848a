"""RemoveUser, DismissRoom and their ByStrRoomId twins: what docs/wire.md, 12, has of them."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.management import RoomServerError
from helpers.api_fakes import APP, FORBIDDEN_APP, GatewayBench

NUMBER = RoomKey(APP, "150", RoomIdType.NUMBER)
STRING = RoomKey(APP, "room #1", RoomIdType.STRING)
REMOVE = [
    pytest.param("RemoveUser", NUMBER, id="numeric"),
    pytest.param("RemoveUserByStrRoomId", STRING, id="string"),
]
DISMISS = [
    pytest.param("DismissRoom", NUMBER, id="numeric"),
    pytest.param("DismissRoomByStrRoomId", STRING, id="string"),
]


@pytest.fixture
def bench() -> GatewayBench:
    bench = GatewayBench()
    bench.rooms.rooms = {NUMBER, STRING}
    return bench


def named(room: RoomKey, **changes: Any) -> dict[str, Any]:
    return {"SdkAppId": APP, "RoomId": room.wire_id, **changes}


@pytest.mark.parametrize("encoding", ["json", "get", "multipart", "v1-get", "v1-post"])
@pytest.mark.parametrize(("action", "room"), REMOVE)
async def test_users_are_removed_in_every_encoding(
    bench: GatewayBench, encoding: str, action: str, room: RoomKey
) -> None:
    """The answer has a RequestId and nothing else; more than ten indexes stay in order."""
    users = [f"u{number}" for number in range(10)]
    answer = await bench.call_encoded(encoding, action, named(room, UserIds=users))
    assert answer.body.keys() == {"RequestId"}
    assert bench.rooms.removed == [(room, tuple(users))]


@pytest.mark.parametrize(("action", "room"), DISMISS)
async def test_a_room_is_dismissed(bench: GatewayBench, action: str, room: RoomKey) -> None:
    assert (await bench.call(action, named(room))).body.keys() == {"RequestId"}
    assert bench.rooms.dismissed == [room]


@pytest.mark.parametrize(("action", "room"), [*REMOVE, *DISMISS])
async def test_a_room_that_is_not_there(bench: GatewayBench, action: str, room: RoomKey) -> None:
    """Neither is one whose id is of the other kind."""
    bench.rooms.rooms = {RoomKey(APP, "150", RoomIdType.STRING)}
    parameters = named(room) | ({"UserIds": ["u"]} if "Remove" in action else {})
    assert (await bench.call(action, parameters)).code == "FailedOperation.RoomNotExist"


@pytest.mark.parametrize(("action", "room"), [*REMOVE, *DISMISS])
async def test_a_server_of_rooms_that_refuses(
    bench: GatewayBench, action: str, room: RoomKey
) -> None:
    """Why, is answered and logged."""
    bench.rooms.failure = RoomServerError("Janus refuses")
    parameters = named(room) | ({"UserIds": ["u"]} if "Remove" in action else {})
    with capture_logs() as logs:
        answer = await bench.call(action, parameters)
    assert (answer.code, answer.message) == ("FailedOperation", "Janus refuses")
    event = "users are not removed" if "Remove" in action else "room is not dismissed"
    fields = {"reason": "Janus refuses", "sdk_app_id": APP, "room_id": room.wire_id}
    assert logs[0] == {"event": event, "log_level": "warning"} | fields
    assert [each["event"] for each in logs[1:]] == ["api call"]


COMMON = [
    pytest.param({"SdkAppId": None}, "MissingParameter.SdkAppId", id="no-app"),
    pytest.param({"SdkAppId": 0}, "MissingParameter.SdkAppId", id="app-0"),
    pytest.param({"RoomId": None}, "MissingParameter.RoomId", id="no-room"),
    pytest.param({"SdkAppId": -1}, "InvalidParameter", id="app-negative"),
    pytest.param({"SdkAppId": 5}, "InvalidParameter.SdkAppId", id="app-not-served"),
    pytest.param({"SdkAppId": FORBIDDEN_APP}, "UnauthorizedOperation.SdkAppId", id="app-of-others"),
    pytest.param({"RoomIdType": 1}, "UnknownParameter", id="unknown-name"),
]
NUMBERS = [
    pytest.param({"RoomId": 0}, "InvalidParameter.RoomId", id="room-0"),
    pytest.param({"RoomId": 4294967295}, "InvalidParameter.RoomId", id="room-too-large"),
    pytest.param({"RoomId": -1}, "InvalidParameter", id="room-negative"),
    pytest.param({"RoomId": "150"}, "InvalidParameter", id="room-as-text"),
]
STRINGS = [
    pytest.param({"RoomId": ""}, "MissingParameter.RoomId", id="room-empty"),
    pytest.param({"RoomId": "r" * 65}, "InvalidParameter.RoomId", id="room-too-long"),
    pytest.param({"RoomId": "a/b"}, "InvalidParameter.RoomId", id="room-bad-character"),
    pytest.param({"RoomId": 150}, "InvalidParameter", id="room-a-number"),
]
USERS = [
    pytest.param({"UserIds": None}, "MissingParameter.UserIds", id="no-users"),
    pytest.param({"UserIds": []}, "InvalidParameter.UserIds", id="zero-users"),
    pytest.param({"UserIds": ["u"] * 11}, "InvalidParameter.UserIds", id="eleven-users"),
    pytest.param({"UserIds": ["u", ""]}, "InvalidParameter.UserIds", id="empty-user"),
    pytest.param({"UserIds": ["u" * 33]}, "InvalidParameter.UserIds", id="user-too-long"),
    pytest.param({"UserIds": "u"}, "InvalidParameter", id="users-a-text"),
    pytest.param({"UserIds": [1]}, "InvalidParameter", id="user-a-number"),
]


async def expect(bench: GatewayBench, action: str, parameters: dict[str, Any], code: str) -> None:
    assert (await bench.call(action, parameters)).code == code
    assert bench.rooms.removed == bench.rooms.dismissed == []


@pytest.mark.parametrize(("changes", "code"), [*COMMON, *NUMBERS, *USERS])
async def test_remove_user_refuses(bench: GatewayBench, changes: dict[str, Any], code: str) -> None:
    await expect(bench, "RemoveUser", named(NUMBER, UserIds=["u"]) | changes, code)


@pytest.mark.parametrize(("changes", "code"), [*COMMON, *STRINGS, *USERS])
async def test_remove_user_by_str_room_id_refuses(
    bench: GatewayBench, changes: dict[str, Any], code: str
) -> None:
    await expect(bench, "RemoveUserByStrRoomId", named(STRING, UserIds=["u"]) | changes, code)


@pytest.mark.parametrize(("changes", "code"), [*COMMON, *NUMBERS])
async def test_dismiss_room_refuses(
    bench: GatewayBench, changes: dict[str, Any], code: str
) -> None:
    await expect(bench, "DismissRoom", named(NUMBER) | changes, code)


@pytest.mark.parametrize(("changes", "code"), [*COMMON, *STRINGS])
async def test_dismiss_room_by_str_room_id_refuses(
    bench: GatewayBench, changes: dict[str, Any], code: str
) -> None:
    await expect(bench, "DismissRoomByStrRoomId", named(STRING) | changes, code)
