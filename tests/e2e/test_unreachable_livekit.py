"""What the API answers where LiveKit does not let us in; its actions on rooms act on LiveKit."""

import asyncio
import time
from pathlib import Path

import pytest
from livekit.api import CreateRoomRequest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from helpers.livekit_anchor import AnchorSpec, livekit_anchor
from helpers.livekit_process import API_SECRET, LivekitProcess
from helpers.node import APP_ID, STORAGE, Node, Sdk, create_parameters
from helpers.waiting import eventually

SILENT = AnchorSpec(tone_hz=None, video=None)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        pytest.param(("", ""), "cannot be reached: Connection refused", id="down"),
        pytest.param(("APITestKey", "APIWrong"), "does not know this api_key", id="key"),
        pytest.param((API_SECRET, "x" * 32), "api_secret is not its secret", id="secret"),
    ],
)
async def test_create_says_why_the_room_cannot_be_entered(
    tmp_path: Path, wrong: tuple[str, str], expected: str
) -> None:
    """In one sentence without secrets, within 6 s."""
    with LivekitProcess(tmp_path / "livekit") as livekit:
        settings = livekit.settings.replace(*wrong)
        with Node(tmp_path / "node", "", app_settings=settings) as node:
            await asyncio.to_thread(node.start)
            if not wrong[0]:
                livekit.kill()
            parameters = create_parameters("150", "robot", STORAGE)
            began = time.monotonic()
            with pytest.raises(TencentCloudSDKException) as error:
                await asyncio.to_thread(Sdk(node).create, parameters)
            assert time.monotonic() - began < 6
            assert error.value.get_code() == "FailedOperation"
            assert f"the LiveKit server {livekit.url} " in error.value.get_message()
            assert expected in error.value.get_message()
            assert API_SECRET not in error.value.get_message() + node.log

            with pytest.raises(TencentCloudSDKException) as error:
                await asyncio.to_thread(
                    Sdk(node).call, "DismissRoom", {"SdkAppId": APP_ID, "RoomId": 150}
                )
            assert error.value.get_code() == "FailedOperation"
            assert expected in error.value.get_message()


async def test_actions_on_rooms_act_on_livekit(tmp_path: Path) -> None:
    """No robot of ours is there."""
    with (
        LivekitProcess(tmp_path / "livekit") as livekit,
        Node(tmp_path / "node", "", app_settings=livekit.settings) as node,
    ):
        await asyncio.to_thread(node.start)
        sdk, room = Sdk(node), {"SdkAppId": APP_ID, "RoomId": 150}
        async with livekit.api() as theirs:
            await theirs.room.create_room(CreateRoomRequest(name="150"))
        async with (
            livekit_anchor(livekit.url, livekit.token("150", "ann"), "ann", SILENT) as ann,
            livekit_anchor(livekit.url, livekit.token("150", "bob"), "bob", SILENT) as bob,
        ):
            await asyncio.to_thread(sdk.call, "RemoveUser", room | {"UserIds": ["ann", "x"]})
            await eventually(lambda: not ann.room.isconnected())
            assert bob.room.isconnected()
            await asyncio.to_thread(sdk.call, "DismissRoom", room)
            await eventually(lambda: not bob.room.isconnected())
        with pytest.raises(TencentCloudSDKException) as error:
            await asyncio.to_thread(sdk.call, "DismissRoom", room)
        assert error.value.get_code() == "FailedOperation.RoomNotExist"
