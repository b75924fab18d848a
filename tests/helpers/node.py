"""A `cloudslice serve` of its own process, with settings made for a test."""

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from urllib.request import urlopen

from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.common.retry import StandardRetryer
from tencentcloud.trtc.v20190722 import models
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient
from TLSSigAPIv2 import TLSSigAPIv2

from cloudslice_publisher.publisher import PublishConfig

APP_ID = 1400000001
APP_KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
SECRET_ID = "AKIDTESTCALLER"
SECRET_KEY = "CallerSecretExample"
CALLBACK_KEY = "SliceCallbackKey0001"
BUCKET = "demo-1250000000"
STORAGE = {
    "Vendor": 0,
    "Region": "ap-guangzhou",
    "Bucket": BUCKET,
    "AccessKey": "a",
    "SecretKey": "s",
}
"""CloudSliceStorage, for a store that is a directory or of no matter."""
_START_TIMEOUT_S = 60
"""A busy machine that keeps no byte code needs most of it to compile all modules."""
_STOP_TIMEOUT_S = 20


class Node:
    """A server that can be stopped, killed and started again on the same data and ports.

    As a context manager it sees to it that the process is gone in the end.

    Args:
        app_settings: more keys of the app's table, and tables of the app, in TOML.
        more_settings: more tables of the settings, in TOML.
        top_settings: more keys of the settings' top, in TOML.
        command: what Python is run with to serve; the option --config is added.
        cwd: the directory to run it in.
    """

    def __init__(
        self,
        directory: Path,
        callback_url: str,
        *,
        app_settings: str = "",
        more_settings: str = "",
        top_settings: str = "",
        command: Sequence[str] = ("-m", "cloudslice", "serve"),
        cwd: Path | None = None,
    ) -> None:
        self.http_port = _free_port(socket.SOCK_STREAM)
        self.udp_port = _free_port(socket.SOCK_DGRAM)
        self.settings_path = directory / "cloudslice.toml"
        self.log_path = directory / "server.log"
        self.data_dir = directory / "data"
        self._command = [sys.executable, *command, "--config", str(self.settings_path)]
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        self.settings_path.write_text(
            f"""\
listen = "127.0.0.1:{self.http_port}"
data_dir = "{self.data_dir}"
{top_settings}
[rtc]
udp_port = {self.udp_port}
[[apps]]
sdk_app_id = {APP_ID}
secret_key = "{APP_KEY}"
callback_url = "{callback_url}"
callback_key = "{CALLBACK_KEY}"
{app_settings}
[[credentials]]
secret_id = "{SECRET_ID}"
secret_key = "{SECRET_KEY}"
sdk_app_ids = [{APP_ID}]
{more_settings}
"""
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return self.log_path.read_text(errors="replace")

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start and wait until it answers."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._cwd)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server does not start: {self.log[-4000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let it do nothing until `go_on`."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """End a pause."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """Stop as an operator does; the exit status."""
        return self._end(signal.SIGTERM)

    def metric(self, name: str, **labels: str) -> float:
        """A value of /metrics."""
        label_text = ",".join(f'{key}="{value}"' for key, value in labels.items())
        prefix = f"{name}{{{label_text}}} " if labels else f"{name} "
        with urlopen(f"{self.url}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(prefix):
                    return float(line.removeprefix(prefix))
        raise AssertionError(f"no metric {prefix}")

    async def wait_for_metric(
        self,
        at_least: float,
        name: str,
        *,
        at_most: float = math.inf,
        within_s: float = 20,
        **labels: str,
    ) -> None:
        """Wait until a value of /metrics, which can only be polled, has come that far."""
        async with asyncio.timeout(within_s):
            while not at_least <= await asyncio.to_thread(self.metric, name, **labels) <= at_most:  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    def anchor(self, room_id: str, user_id: str, room_id_type: int = 1) -> PublishConfig:
        """How an anchor publishes into a room here."""
        return PublishConfig(
            f"{self.url}/whip/{APP_ID}/{room_id_type}/{quote(room_id)}/{user_id}", user_sig(user_id)
        )

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), urlopen(f"{self.url}/healthz") as answer:
            return bool(answer.status == 200)
        return False

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        os.kill(process.pid, how)
        return process.wait(_STOP_TIMEOUT_S)


class Sdk:
    """The slicing actions by the official Python SDK; blocking.

    Args:
        http_port: of the node, or of what stands before it.
        attempts: how often the SDK tries a call that gets no answer.
    """

    def __init__(
        self,
        node: Node,
        *,
        secret_key: str = SECRET_KEY,
        http_port: int | None = None,
        attempts: int = 1,
    ) -> None:
        self._client = TrtcClient(
            Credential(SECRET_ID, secret_key),
            "ap-singapore",
            ClientProfile(
                httpProfile=HttpProfile(
                    protocol="http",
                    endpoint=f"127.0.0.1:{http_port or node.http_port}",
                    reqTimeout=10,
                ),
                retryer=StandardRetryer(attempts, lambda _attempt: 0.1),
            ),
        )

    def create(self, parameters: dict[str, Any]) -> str:
        """The TaskId."""
        return str(self.call("CreateCloudSliceTask", parameters).TaskId)

    def describe(self, task_id: str) -> str:
        """The Status."""
        return str(self.call("DescribeCloudSliceTask", _task(task_id)).Status)

    def modify(self, task_id: str, lists: dict[str, list[str]] | None) -> None:
        more = {} if lists is None else {"SubscribeStreamUserIds": lists}
        self.call("ModifyCloudSliceTask", _task(task_id) | more)

    def change(self, task_id: str, **slice_params: int) -> None:
        """ModifyCloudSliceTask with our extension, which typed requests do not know."""
        self._client.call_json(
            "ModifyCloudSliceTask", _task(task_id) | {"SliceParams": slice_params}
        )

    def delete(self, task_id: str) -> None:
        self.call("DeleteCloudSliceTask", _task(task_id))

    def call(self, action: str, parameters: dict[str, Any]) -> Any:
        request = getattr(models, f"{action}Request")()
        request.from_json_string(json.dumps(parameters))
        return getattr(self._client, action)(request)


def user_sig(user_id: str) -> str:
    """A UserSig by the official generator."""
    return str(TLSSigAPIv2(APP_ID, APP_KEY).gen_sig(user_id, 86400))


def create_parameters(
    room_id: str,
    robot: str,
    bucket: dict[str, Any],
    *,
    room_id_type: int = 1,
    **slice_params: Any,
) -> dict[str, Any]:
    """What CreateCloudSliceTask takes; `slice_params` go into SliceParams."""
    return {
        "SdkAppId": APP_ID,
        "RoomId": room_id,
        "RoomIdType": room_id_type,
        "UserId": robot,
        "UserSig": user_sig(robot),
        "SliceParams": {"SliceType": 3, "SliceAudio": 15, "SliceVideo": 5} | slice_params,
        "SliceStorageParams": {"CloudSliceStorage": bucket},
    }


def _task(task_id: str) -> dict[str, Any]:
    return {"SdkAppId": APP_ID, "TaskId": task_id}


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
