"""A whole task by every official client against a running server, from Create to its end."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from helpers.client_programs import ClientProgram
from helpers.node import APP_ID, SECRET_ID, SECRET_KEY, STORAGE, Node, create_parameters
from helpers.official_clients import EVERY_WAY, SHA1, SHA256, TC3, OfficialClient, Setup
from helpers.signing import KeyPair

KEYS = KeyPair(SECRET_ID, SECRET_KEY)
LIMIT = 5

Programs = Mapping[str, ClientProgram]


def start(directory: Path, *, requests_per_second: int) -> Node:
    settings = f"""
[storage.endpoints]
cos = "{(directory / "buckets").as_uri()}"
[apps.limits]
requests_per_second = {requests_per_second}
"""
    return Node(directory, "", more_settings=settings)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with start(tmp_path_factory.mktemp("node"), requests_per_second=1000) as running:
        running.start()
        yield running


@pytest.mark.parametrize(("program", "setup"), EVERY_WAY)
async def test_a_client_runs_a_task(
    node: Node, client_programs: Programs, program: str, setup: Setup
) -> None:
    """It creates, describes, modifies, deletes, and is told that the task is gone."""
    client = OfficialClient(client_programs, program, setup)
    endpoint = f"127.0.0.1:{node.http_port}"
    parameters = create_parameters("150", "robot_150", STORAGE, MaxIdleTime=60)
    created = await client.call(endpoint, KEYS, "CreateCloudSliceTask", parameters)
    assert created.code is None, created
    task = {"SdkAppId": APP_ID, "TaskId": created.outputs["TaskId"]}

    described = await client.call(endpoint, KEYS, "DescribeCloudSliceTask", task)
    assert described.outputs["Status"] == "Idle"
    lists = {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["alice", "b.*$"]}}
    modified = await client.call(endpoint, KEYS, "ModifyCloudSliceTask", task | lists)
    assert modified.outputs["TaskId"] == task["TaskId"]
    deleted = await client.call(endpoint, KEYS, "DeleteCloudSliceTask", task)
    assert deleted.outputs["TaskId"] == task["TaskId"]

    async with asyncio.timeout(10):
        gone = deleted
        while gone.code is None:
            gone = await client.call(endpoint, KEYS, "DescribeCloudSliceTask", task)
            assert gone.outputs.get("Status", "Exited") == "Exited"
    assert gone.code == "ResourceNotFound"


async def test_a_wrong_key_creates_nothing(node: Node, client_programs: Programs) -> None:
    client = OfficialClient(client_programs, "python")
    parameters = create_parameters("151", "robot_151", STORAGE)
    before = node.metric("cloudslice_tasks", status="Idle")
    result = await client.call(
        f"127.0.0.1:{node.http_port}",
        replace(KEYS, secret_key="wrong"),
        "CreateCloudSliceTask",
        parameters,
    )
    assert result.code == "AuthFailure.SignatureFailure"
    assert node.metric("cloudslice_tasks", status="Idle") == before


@pytest.mark.parametrize(
    ("program", "setup"),
    [
        pytest.param("python", TC3, id="python-tc3"),
        pytest.param("python-intl", SHA256, id="python-intl-sha256"),
        pytest.param("tccli", TC3, id="tccli-tc3"),
        pytest.param("nodejs", TC3, id="nodejs-tc3"),
        pytest.param("nodejs-intl", SHA256, id="nodejs-intl-sha256"),
        pytest.param("java", SHA1, id="java-sha1"),
        pytest.param("go", TC3, id="go-tc3"),
        pytest.param("go-typed", SHA256, id="go-sha256"),
    ],
)
async def test_a_client_calls_with_temporary_keys(
    node: Node, client_programs: Programs, program: str, setup: Setup
) -> None:
    """As `cloudslice token` prints them, without a word to the server."""
    client = OfficialClient(client_programs, program, setup)
    command = [sys.executable, "-m", "cloudslice", "token", "--config", str(node.settings_path)]
    printed = await asyncio.to_thread(subprocess.check_output, command)
    made = json.loads(printed)
    keys = KeyPair(made["SecretId"], made["SecretKey"])
    unknown = {"SdkAppId": APP_ID, "TaskId": "unknown"}

    async def describe(token: str) -> str | None:
        endpoint = f"127.0.0.1:{node.http_port}"
        action = "DescribeCloudSliceTask"
        return (await client.call(endpoint, keys, action, unknown, token=token)).code

    assert await describe(made["Token"]) == "ResourceNotFound"
    assert await describe("wrong") == "AuthFailure.TokenFailure"


async def test_a_client_retries_until_the_rate_limit_lets_it_through(
    tmp_path: Path, client_programs: Programs
) -> None:
    """Without its retries, Go sees RequestLimitExceeded; with them, all of its calls succeed."""
    impatient = OfficialClient(client_programs, "go")
    patient = OfficialClient(client_programs, "go", replace(TC3, rate_limit_retries=5))
    unknown = {"SdkAppId": APP_ID, "TaskId": "unknown"}
    with start(tmp_path, requests_per_second=LIMIT) as node:
        node.start()
        endpoint = f"127.0.0.1:{node.http_port}"

        async def call(client: OfficialClient) -> str | None:
            return (await client.call(endpoint, KEYS, "DescribeCloudSliceTask", unknown)).code

        burst = [await call(impatient) for _ in range(5 * LIMIT)]
        assert set(burst) == {"ResourceNotFound", "RequestLimitExceeded"}
        assert burst[:LIMIT] == ["ResourceNotFound"] * LIMIT
        assert {await call(patient) for _ in range(2 * LIMIT)} == {"ResourceNotFound"}
