"""The demo's API client: Tencent Cloud's own SDK, with no other change than its endpoint."""

import json
from typing import Any

from cloudslice_publisher.demo.scene import BUCKET, ROBOT, ROOM_ID, SDK_APP_ID, Scene


class SdkMissingError(Exception):
    """The official SDK is not installed."""


class OfficialSdk:
    """Calls the slicing actions; blocking.

    Raises:
        SdkMissingError: on construction.
    """

    def __init__(self, scene: Scene) -> None:
        # Only the demo needs the SDK, so that it is no dependency of the service.
        try:
            from tencentcloud.common.credential import Credential
            from tencentcloud.common.profile.client_profile import ClientProfile
            from tencentcloud.common.profile.http_profile import HttpProfile
            from tencentcloud.trtc.v20190722 import models, trtc_client
        except ImportError as error:
            raise SdkMissingError(
                "the demo calls the API with the official SDK, which is not installed: "
                "pip install 'cloudslice[demo]'"
            ) from error
        self._models = models
        self._client = trtc_client.TrtcClient(
            Credential(scene.secret_id, scene.secret_key),
            "ap-singapore",
            ClientProfile(
                httpProfile=HttpProfile(
                    protocol="http", endpoint=f"127.0.0.1:{scene.http_port}", reqTimeout=10
                )
            ),
        )

    def create_task(self, user_sig: str) -> str:
        """Start to slice everybody in the demo's room; the TaskId."""
        response = self._call(
            "CreateCloudSliceTask",
            {
                "SdkAppId": SDK_APP_ID,
                "RoomId": ROOM_ID,
                "RoomIdType": 1,
                "UserId": ROBOT,
                "UserSig": user_sig,
                "SliceParams": {
                    "SliceType": 3,
                    "MaxIdleTime": 30,
                    "SliceAudio": 15,
                    "SliceVideo": 5,
                },
                "SliceStorageParams": {
                    "CloudSliceStorage": {
                        "Vendor": 0,
                        "Region": "ap-guangzhou",
                        "Bucket": BUCKET,
                        "AccessKey": "demo",
                        "SecretKey": "demo",
                        "FileNamePrefix": ["slices"],
                    }
                },
            },
        )
        return str(response.TaskId)

    def describe_task(self, task_id: str) -> str:
        """The task's Status."""
        arguments = {"SdkAppId": SDK_APP_ID, "TaskId": task_id}
        return str(self._call("DescribeCloudSliceTask", arguments).Status)

    def delete_task(self, task_id: str) -> None:
        """Stop the task."""
        self._call("DeleteCloudSliceTask", {"SdkAppId": SDK_APP_ID, "TaskId": task_id})

    def _call(self, action: str, arguments: dict[str, Any]) -> Any:
        request = getattr(self._models, f"{action}Request")()
        request.from_json_string(json.dumps(arguments))
        return getattr(self._client, action)(request)
