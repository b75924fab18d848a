"""`cloudslice events` against a running server, and its two actions by an official client."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from helpers.node import (
    APP_ID,
    CALLBACK_KEY,
    SECRET_ID,
    SECRET_KEY,
    STORAGE,
    Node,
    Sdk,
    create_parameters,
)
from helpers.webhooks import WebhookReceiver


class Site:
    """A server, its receiver, and a task that has come and gone."""

    def __init__(self, node: Node, receiver: WebhookReceiver, task_id: str) -> None:
        self.node = node
        self.receiver = receiver
        self.task_id = task_id

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`cloudslice events` with the server's settings."""
        return await asyncio.to_thread(
            run_events, *arguments, "--config", str(self.node.settings_path)
        )

    async def lines(self, *arguments: str) -> list[str]:
        """What it prints."""
        result = await self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()


def run_events(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloudslice", "events", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        with Node(tmp_path, receiver.url) as node:
            await asyncio.to_thread(node.start)
            sdk = Sdk(node)
            task_id = await asyncio.to_thread(
                sdk.create, create_parameters("150", "robot", STORAGE)
            )
            await receiver.wait_for_type(1001)
            await asyncio.to_thread(sdk.delete, task_id)
            await receiver.wait_for_type(1005)
            await node.wait_for_metric(3, "cloudslice_callbacks_total", what="delivered")
            yield Site(node, receiver, task_id)


async def listed(site: Site, *filters: str) -> list[dict[str, object]]:
    """Events by `list --json`, once all are on record as delivered."""
    async with asyncio.timeout(20):
        while True:
            found = [json.loads(line) for line in await site.lines("list", "--json", *filters)]
            if all(event["State"] == "delivered" for event in found):
                return found


async def test_events_are_listed_shown_and_replayed(site: Site) -> None:
    """While the server runs; what is sent again has the bytes of the first time."""
    events = await listed(site)
    assert [event["EventType"] for event in events] == [1001, 1002, 1005]
    bodies = [request.body.decode() for request in site.receiver.requests]
    assert [event["Body"] for event in events] == bodies

    (line,) = await site.lines("list", "--type", "1002", "--task", site.task_id, "--since", "1h")
    assert "delivered" in line
    assert site.task_id in line
    assert await site.lines("list", "--task", "another") == []
    assert await site.lines("list", "--state", "given-up") == []

    shown = await site.lines("show", str(events[1]["EventId"]))
    assert shown[-1] == bodies[1]
    assert "State: delivered" in shown

    assert await site.lines("replay", str(events[1]["EventId"])) == ["1 event is sent again"]
    await site.receiver.wait_for(lambda r: len(r.requests) == 4)
    assert site.receiver.requests[3].body.decode() == bodies[1]

    await listed(site)
    assert await site.lines("list", "--since", "2020-01-01T00:00:00") != []
    assert await site.lines("list", "--since", "2100-01-01") == []
    assert await site.lines("replay", "--task", site.task_id) == ["3 events are sent again"]
    await site.receiver.wait_for(lambda r: len(r.requests) == 7)
    assert [request.body.decode() for request in site.receiver.requests[4:]] == bodies


async def test_an_event_that_is_not_sent_again_is_named(site: Site) -> None:
    """The others are sent all the same."""
    events = await listed(site)
    result = await site.run("replay", str(events[0]["EventId"]), "999999")
    assert (result.returncode, result.stdout) == (2, "1 event is sent again\n")
    assert "999999" in result.stderr
    await site.receiver.wait_for(lambda r: len(r.requests) == 4)


async def test_an_official_client_can_call_the_extensions(site: Site) -> None:
    """By its generic client, as its models do not know them."""
    await listed(site)
    profile = HttpProfile(protocol="http", endpoint=f"127.0.0.1:{site.node.http_port}")
    client = CommonClient(
        "trtc", "2019-07-22", Credential(SECRET_ID, SECRET_KEY), "ap-singapore",
        ClientProfile(httpProfile=profile),
    )  # fmt: skip

    def call(action: str, **parameters: object) -> dict[str, object]:
        answer = client.call_json(action, {"SdkAppId": APP_ID, **parameters})["Response"]
        assert isinstance(answer, dict)
        return answer

    page = await asyncio.to_thread(call, "DescribeCloudSliceEvents", Limit=2)
    assert [event["EventType"] for event in page["Events"]] == [1001, 1002]
    rest = await asyncio.to_thread(call, "DescribeCloudSliceEvents", Marker=page["NextMarker"])
    assert [event["EventType"] for event in rest["Events"]] == [1005]
    assert "NextMarker" not in rest
    answer = await asyncio.to_thread(call, "ReplayCloudSliceEvents", TaskId=site.task_id)
    assert answer["Count"] == 3
    await site.receiver.wait_for(lambda r: len(r.requests) == 6)


async def test_mistakes_are_told_in_a_sentence(site: Site) -> None:
    for arguments, expected in (
        (("show", "999"), "there is no event 999"),
        (("replay",), "say which events"),
        (("replay", "--type", "1004"), "say which events"),
        (("replay", "--since", "1d", "--state", "waiting"), "are sent anyway"),
        (("list", "--since", "yesterday"), "--since: expected"),
        (("list", "--app", "7"), "--app: 7 is not in the settings"),
        (("list", "--url", "http://127.0.0.1:9"), "no server answers at http://127.0.0.1:9"),
        (("list", "--url", f"{site.node.url}/whip/1"), "is no cloudslice"),
    ):
        result = await site.run(*arguments)
        assert result.returncode == 2
        assert expected in result.stderr
        assert "Traceback" not in result.stderr


def test_without_a_server_that_is_said(tmp_path: Path) -> None:
    """Not that the database is locked, or is not there."""
    with Node(tmp_path, "http://127.0.0.1:9/hook") as node:
        result = run_events("list", "--config", str(node.settings_path))
    assert result.returncode == 2
    assert "no server answers at http://127.0.0.1:" in result.stderr
    assert "is `cloudslice serve` running?" in result.stderr
