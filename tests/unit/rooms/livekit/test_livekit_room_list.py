"""The rooms of a LiveKit server that can be ours."""

import contextlib
import json

from structlog.testing import capture_logs

from cloudslice.clock import SystemClock
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.livekit.livekit_server import LivekitServer
from cloudslice.settings.room_settings import LivekitSettings
from cloudslice.tick import Tick
from cloudslice.webrtc.udp.port import UdpPort
from helpers.scripted_http import respond, scripted_http


def _no_port() -> UdpPort:
    raise AssertionError("no room is visited")


async def test_a_room_whose_name_is_no_room_id_is_told_once() -> None:
    clock = SystemClock()
    names = ["show-1", "show-会议", "others-会议"]
    answer = json.dumps({"rooms": [{"name": each} for each in names]}).encode()
    async with scripted_http() as site:
        site.answer = lambda *_: respond(200, answer)
        settings = LivekitSettings.model_validate(
            {
                "url": f"ws://127.0.0.1:{site.port}",
                "api_key": "key",
                "api_secret": "x" * 32,
                "room_name": "show-{RoomId}",
            }
        )
        with contextlib.closing(Tick(clock)) as tick, capture_logs() as logs:
            server = LivekitServer(settings, _no_port, tick, clock, consent_timeout_s=15)
            for _ in range(2):
                rooms = await server.list_rooms(1, [RoomIdType.NUMBER, RoomIdType.STRING])
    assert set(rooms) == {
        RoomKey(1, "1", RoomIdType.NUMBER),
        RoomKey(1, "1", RoomIdType.STRING),
    }
    [told] = [each for each in logs if "no RoomId" in each["event"]]
    assert (told["name"], told["sdk_app_id"]) == ("show-会议", 1)
