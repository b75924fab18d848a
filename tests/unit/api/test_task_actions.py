"""Describe, Modify and Delete: what docs/api.md has of them."""

from typing import Any

import pytest

from cloudslice.slicing.params import SubscriptionLists
from cloudslice.tasks.model import TaskStatus
from helpers.api_fakes import APP, OTHER_APP, TASK_ID, GatewayBench

DESCRIBE, MODIFY, DELETE = (
    "DescribeCloudSliceTask",
    "ModifyCloudSliceTask",
    "DeleteCloudSliceTask",
)
ACTIONS = (DESCRIBE, MODIFY, DELETE)
NAMED = {"SdkAppId": APP, "TaskId": TASK_ID}


@pytest.mark.parametrize("status", ["Idle", "InProgress", "Exited"])
async def test_describe_tells_the_status(bench: GatewayBench, status: str) -> None:
    bench.tasks.tasks[APP, TASK_ID] = TaskStatus(status)
    answer = await bench.call(DESCRIBE, NAMED)
    assert answer.body["TaskId"] == TASK_ID
    assert answer.body["Status"] == status


@pytest.mark.parametrize(
    ("given", "lists"),
    [
        pytest.param({}, None, id="absent"),
        pytest.param({"SubscribeStreamUserIds": None}, None, id="null"),
        pytest.param({"SubscribeStreamUserIds": {}}, SubscriptionLists(), id="empty"),
        pytest.param(
            {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": None}},
            SubscriptionLists(),
            id="list-null",
        ),
        pytest.param(
            {"SubscribeStreamUserIds": {"SubscribeAudioUserIds": ["a", "b.*$"]}},
            SubscriptionLists(audio_allow=("a", "b.*$")),
            id="one-list",
        ),
    ],
)
async def test_modify_replaces_all_lists_or_none(
    bench: GatewayBench, given: dict[str, Any], lists: SubscriptionLists | None
) -> None:
    """An object, even an empty one, replaces all four; without one nothing changes."""
    answer = await bench.call(MODIFY, NAMED | given)
    assert answer.body.keys() == {"TaskId", "RequestId"}
    assert answer.body["TaskId"] == TASK_ID
    assert bench.tasks.modified == [(APP, TASK_ID, lists)]


async def test_delete_stops_the_task(bench: GatewayBench) -> None:
    answer = await bench.call(DELETE, NAMED)
    assert answer.body.keys() == {"TaskId", "RequestId"}
    assert answer.body["TaskId"] == TASK_ID
    assert bench.tasks.deleted == [(APP, TASK_ID)]


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"SdkAppId": None}, "MissingParameter.SdkAppId", id="no-app"),
        pytest.param({"SdkAppId": 0}, "MissingParameter.SdkAppId", id="app-0"),
        pytest.param({"TaskId": None}, "MissingParameter.TaskId", id="no-task"),
        pytest.param({"TaskId": ""}, "MissingParameter.TaskId", id="empty-task"),
        pytest.param({"SdkAppId": 1}, "InvalidParameter.SdkAppId", id="app-not-served"),
        pytest.param({"SdkAppId": 2**64 - 1}, "InvalidParameter.SdkAppId", id="app-impossible"),
        pytest.param({"TaskId": "unknown"}, "ResourceNotFound", id="unknown-task"),
        pytest.param({"TaskId": "a/../b\0"}, "ResourceNotFound", id="malformed-task"),
        pytest.param({"SdkAppId": OTHER_APP}, "ResourceNotFound", id="task-of-another-app"),
        pytest.param({"SdkAppId": str(APP)}, "InvalidParameter", id="app-as-text"),
        pytest.param({"TaskId": 5}, "InvalidParameter", id="task-a-number"),
        pytest.param({"RoomId": "150"}, "UnknownParameter", id="unknown-name"),
    ],
)
async def test_a_call_about_no_task_gets_its_code(
    bench: GatewayBench, action: str, changes: dict[str, Any], code: str
) -> None:
    assert (await bench.call(action, NAMED | changes)).code == code
    assert bench.tasks.modified == bench.tasks.deleted == []
