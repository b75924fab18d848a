"""Calls the API by the official Python SDK, whichever of the two is first on the path.

The SDK of the Chinese site and the international one share their import name, so a process can
have one of them only. Each line of standard input is an order in JSON, each line of standard output
its result: see `helpers.client_programs`.
"""

import json
import sys
from typing import Any

from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient


def _client(settings: dict[str, Any]) -> TrtcClient:
    http = HttpProfile(
        protocol="http", endpoint=settings["endpoint"], reqMethod=settings["http_method"]
    )
    profile = ClientProfile(
        signMethod=settings["sign_method"], httpProfile=http, language=settings["language"]
    )
    profile.unsignedPayload = settings["unsigned_payload"]
    credential = Credential(settings["secret_id"], settings["secret_key"], settings["token"])
    return TrtcClient(credential, settings["region"], profile)


def _obey(settings: dict[str, Any], action: str, parameters: Any) -> dict[str, Any]:
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    try:
        response = getattr(_client(settings), action)(request)
    except TencentCloudSDKException as error:
        return {
            "code": error.get_code(),
            "message": error.get_message(),
            "request_id": error.get_request_id(),
        }
    return {"outputs": json.loads(response.to_json_string()), "request_id": response.RequestId}


def _main() -> None:
    for line in sys.stdin:
        print(json.dumps(_obey(**json.loads(line))), flush=True)


if __name__ == "__main__":
    _main()
