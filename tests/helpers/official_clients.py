"""The vendor's own clients, pointed at a server of ours.

The Python SDK is imported here. The international one has the same import name: it is called in a
process of its own, which runs this module with the folder of that SDK first on its path.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient

from helpers.signing import KeyPair

INTERNATIONAL_SDK = Path(sys.prefix) / "intl"
TCCLI = Path(sys.executable).with_name("tccli")
_HELPERS = Path(__file__).parent


@dataclass(frozen=True)
class Result:
    """What a client made of an answer: outputs, or its own exception's code and message."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    message: str = ""
    request_id: str = ""


def sdk_client(
    port: int,
    keys: KeyPair,
    *,
    region: str = "ap-singapore",
    sign_method: str = "TC3-HMAC-SHA256",
    http_method: str = "POST",
    language: str = "en-US",
    unsigned_payload: bool = False,
    token: str | None = None,
) -> TrtcClient:
    """The Python SDK's client for the API at `port` of this machine, over plain HTTP."""
    http = HttpProfile(protocol="http", endpoint=f"127.0.0.1:{port}", reqMethod=http_method)
    profile = ClientProfile(signMethod=sign_method, httpProfile=http, language=language)
    profile.unsignedPayload = unsigned_payload
    credential = Credential(keys.secret_id, keys.secret_key, token)
    return TrtcClient(credential, region, profile)


async def call_sdk(client: TrtcClient, action: str, parameters: Mapping[str, Any]) -> Result:
    """Call an action with a typed request; the SDK blocks, so it does that in a thread."""
    return await asyncio.to_thread(_call, client, action, parameters)


async def call_international_sdk(
    port: int, keys: KeyPair, action: str, parameters: Mapping[str, Any], **profile: Any
) -> Result:
    """The same with the international SDK; `profile` as for `sdk_client`."""
    order = json.dumps([port, keys.secret_id, keys.secret_key, action, parameters, profile])
    path = os.pathsep.join([str(INTERNATIONAL_SDK), str(_HELPERS.parent)])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "helpers.official_clients"),
        env={**os.environ, "PYTHONPATH": path},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate(order.encode())
    assert process.returncode == 0
    return Result(**json.loads(output))


async def call_tccli(
    port: int, keys: KeyPair, action: str, parameters: Mapping[str, Any], home: Path, *extra: str
) -> Result:
    """The vendor's command line; it keeps its settings in `home`."""
    given = [
        text
        for name, value in parameters.items()
        for text in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
    process = await asyncio.create_subprocess_exec(
        str(TCCLI),
        *("trtc", action, "--version", "2019-07-22", "--region", "ap-singapore"),
        *("--endpoint", f"http://127.0.0.1:{port}"),
        *("--secretId", keys.secret_id, "--secretKey", keys.secret_key),
        *given,
        *extra,
        env={"HOME": str(home), "PATH": os.environ["PATH"]},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode()
    if process.returncode == 0:
        return Result(outputs=json.loads(text))
    return Result(code=_between(text, "code:", " "), message=text)


def _between(text: str, start: str, end: str) -> str:
    return text.partition(start)[2].partition(end)[0]


def _call(client: TrtcClient, action: str, parameters: Mapping[str, Any]) -> Result:
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    try:
        response = getattr(client, action)(request)
    except TencentCloudSDKException as error:
        return Result(
            code=error.get_code(),
            message=error.get_message(),
            request_id=error.get_request_id() or "",
        )
    return Result(outputs=json.loads(response.to_json_string()), request_id=response.RequestId)


def _main() -> None:
    port, secret_id, secret_key, action, parameters, profile = json.load(sys.stdin)
    client = sdk_client(port, KeyPair(secret_id, secret_key), **profile)
    result = _call(client, action, parameters)
    json.dump(vars(result), sys.stdout)


if __name__ == "__main__":
    _main()
