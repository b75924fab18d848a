"""The official Node.js generator makes UserSigs and PrivateMapKeys; we accept them."""

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cloudslice.identity.private_map_key import Privilege, verify_private_map_key
from cloudslice.identity.user_sig import verify_user_sig
from cloudslice.ids import RoomIdType, RoomKey

APP = 1400000000
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
USER = "slice_bot_150"
NODE_CLIENTS = Path(__file__).parents[1] / "node"

SCRIPT = f"""
const {{ Api }} = require('tls-sig-api-v2');
const api = new Api({APP}, '{KEY}');
console.log(JSON.stringify({{
    user_sig: api.genUserSig('{USER}', 600),
    numeric: api.genPrivateMapKey('{USER}', 600, 4294967294, 255),
    string: api.genPrivateMapKeyWithStringRoomID('{USER}', 600, 'room #1', 42),
}}));
"""


@pytest.fixture(scope="module")
def tokens() -> dict[str, str]:
    if not shutil.which("node") or not (NODE_CLIENTS / "node_modules" / "tls-sig-api-v2").exists():
        pytest.skip("node or its package tls-sig-api-v2 is not installed")
    run = subprocess.run(
        ["node", "-e", SCRIPT], cwd=NODE_CLIENTS, capture_output=True, text=True, check=True
    )
    made: dict[str, str] = json.loads(run.stdout)
    return made


def test_its_user_sig_is_accepted(tokens: dict[str, str]) -> None:
    verify_user_sig(tokens["user_sig"], KEY, APP, USER, now_s=time.time())


@pytest.mark.parametrize(
    ("kind", "room", "granted"),
    [
        pytest.param(
            "numeric",
            RoomKey(APP, "4294967294", RoomIdType.NUMBER),
            Privilege.ALL,
            id="numeric-room",
        ),
        pytest.param(
            "string",
            RoomKey(APP, "room #1", RoomIdType.STRING),
            Privilege.ENTER_ROOM | Privilege.RECEIVE_AUDIO | Privilege.RECEIVE_VIDEO,
            id="string-room",
        ),
    ],
)
def test_its_private_map_key_is_accepted(
    tokens: dict[str, str], kind: str, room: RoomKey, granted: Privilege
) -> None:
    verify_private_map_key(tokens[kind], KEY, room, USER, granted, now_s=time.time())
