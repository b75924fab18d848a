"""Slices a room until Ctrl-C, with Tencent Cloud's own SDK; only the endpoint is another one."""

import argparse
import json
import os
import time
import tomllib
from pathlib import Path
from typing import Any

from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.trtc.v20190722 import models
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient
from TLSSigAPIv2 import TLSSigAPIv2


def main() -> None:
    arguments = parse_arguments()
    settings = tomllib.loads(arguments.config.read_text())
    try:
        slice_room(make_client(settings), settings, arguments)
    except TencentCloudSDKException as error:
        raise SystemExit(f"{error.code}: {error.message} (RequestId {error.requestId})") from None


def slice_room(client: TrtcClient, settings: dict[str, Any], arguments: argparse.Namespace) -> None:
    created = call(client, "CreateCloudSliceTask", task_parameters(settings["apps"][0], arguments))
    task = {"SdkAppId": settings["apps"][0]["sdk_app_id"], "TaskId": created.TaskId}
    print(f"task {created.TaskId}; Ctrl-C ends it", flush=True)
    try:
        while True:
            print(call(client, "DescribeCloudSliceTask", task).Status, flush=True)
            time.sleep(5)
    except KeyboardInterrupt:
        call(client, "DeleteCloudSliceTask", task)
        print("deleted")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=Path("cloudslice.toml"))
    parser.add_argument("--room", default="150", help="RoomId, a number")
    parser.add_argument("--bucket", default="demo-1250000000", help="a COS bucket")
    parser.add_argument("--region", default="ap-guangzhou", help="the bucket's region")
    return parser.parse_args()


def make_client(settings: dict[str, Any]) -> TrtcClient:
    pair = settings["credentials"][0]
    http = HttpProfile(protocol="http", endpoint=settings.get("listen", "127.0.0.1:8080"))
    return TrtcClient(
        Credential(pair["secret_id"], pair["secret_key"]),
        "ap-singapore",
        ClientProfile(httpProfile=http),
    )


def task_parameters(app: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    robot = f"slice_bot_{arguments.room}"
    return {
        "SdkAppId": app["sdk_app_id"],
        "RoomId": arguments.room,
        "UserId": robot,
        "UserSig": TLSSigAPIv2(app["sdk_app_id"], app["secret_key"]).gen_sig(robot),
        "SliceParams": {"SliceType": 3, "SliceAudio": 15, "SliceVideo": 5},
        "SliceStorageParams": {
            "CloudSliceStorage": {
                "Vendor": 0,
                "Region": arguments.region,
                "Bucket": arguments.bucket,
                # A bucket that is a directory of the server's (file://) needs no keys.
                "AccessKey": os.environ.get("BUCKET_ACCESS_KEY", "none"),
                "SecretKey": os.environ.get("BUCKET_SECRET_KEY", "none"),
            }
        },
    }


def call(client: TrtcClient, action: str, parameters: dict[str, Any]) -> Any:
    request = getattr(models, f"{action}Request")()
    request.from_json_string(json.dumps(parameters))
    return getattr(client, action)(request)


if __name__ == "__main__":
    main()
