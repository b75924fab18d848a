"""Describe, Modify and Delete: what docs/api.md has of them."""

from typing import Any

import pytest

from cloudslice.slicing.params import ImageFormat, ParamChanges, SubscriptionLists
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


@pytest.mark.parametrize(
    ("given", "changes"),
    [
        pytest.param({}, {}, id="empty"),
        pytest.param({"SliceAudio": 60}, {"audio_slice_s": 60}, id="audio"),
        pytest.param({"SliceVideo": 60}, {"video_interval_s": 60}, id="video"),
        pytest.param({"SliceImageType": 0}, {"image_format": ImageFormat.PNG}, id="png"),
        pytest.param({"SliceType": 1}, {"audio": True, "video": False}, id="audio-only"),
        pytest.param({"SliceCallbackUrl": "http://x"}, {}, id="callback-url"),
        pytest.param(
            {
                "SliceType": 3,
                "MaxIdleTime": 86400,
                "SliceAudio": 15,
                "SliceVideo": 5,
                "SliceImageType": 1,
            },
            {
                "audio": True,
                "video": True,
                "max_idle_s": 86400,
                "audio_slice_s": 15,
                "video_interval_s": 5,
                "image_format": ImageFormat.JPG,
            },
            id="all",
        ),
    ],
)
@pytest.mark.parametrize("encoding", ["json", "get", "multipart", "v1-get", "v1-post"])
async def test_modify_changes_the_parameters_that_are_given(
    bench: GatewayBench, given: dict[str, Any], changes: ParamChanges, encoding: str
) -> None:
    """Our extension: what is absent keeps its value, and the lists stay."""
    answer = await bench.call_encoded(encoding, MODIFY, NAMED | {"SliceParams": given})
    assert answer.code is None
    assert bench.tasks.modified == [(APP, TASK_ID, None)]
    assert bench.tasks.changes == [changes]


@pytest.mark.parametrize("given", [None, {"SliceAudio": None, "SliceType": None}])
async def test_modify_takes_null_for_absent(bench: GatewayBench, given: object) -> None:
    assert (await bench.call(MODIFY, NAMED | {"SliceParams": given})).code is None
    assert bench.tasks.changes == [{}]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        pytest.param({"SliceType": 4}, "InvalidParameter.OutOfRange", id="type"),
        pytest.param({"MaxIdleTime": 4}, "InvalidParameter.OutOfRange", id="idle"),
        pytest.param({"SliceAudio": 14}, "InvalidParameter.OutOfRange", id="audio"),
        pytest.param({"SliceVideo": 61}, "InvalidParameter.OutOfRange", id="video"),
        pytest.param({"SliceImageType": 2}, "InvalidParameter.OutOfRange", id="image"),
        pytest.param({"SliceAudio": "15"}, "InvalidParameter", id="a-text"),
        pytest.param([], "InvalidParameter", id="a-list"),
        pytest.param({"SubscribeStreamUserIds": {}}, "UnknownParameter", id="lists-inside"),
    ],
)
async def test_modify_refuses_parameters_as_create_does(
    bench: GatewayBench, given: object, code: str
) -> None:
    assert (await bench.call(MODIFY, NAMED | {"SliceParams": given})).code == code
    assert bench.tasks.modified == []


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
