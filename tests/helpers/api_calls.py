"""Calls that would succeed, and such as differ from them in one thing."""

from collections.abc import Mapping
from typing import Any

from helpers.api_fakes import APP, HOST, KEYS, NOW, TASK_ID, Answer, GatewayBench, create_parameters
from helpers.signing import KeyPair, tc3_headers, v1_fields

DESCRIBE = {"SdkAppId": APP, "TaskId": TASK_ID}
FLAT_DESCRIBE = {"SdkAppId": str(APP), "TaskId": TASK_ID}
STORAGE = "SliceStorageParams.CloudSliceStorage"
LISTS = "SliceParams.SubscribeStreamUserIds"
ABSENT: Any = object()


async def create(bench: GatewayBench, parameters: dict[str, Any]) -> Answer:
    return await bench.call("CreateCloudSliceTask", parameters)


def altered(path: str, value: Any) -> dict[str, Any]:
    """Valid parameters with the one at the dot `path` replaced, or removed where ABSENT."""
    parameters = create_parameters()
    *parents, name = path.split(".")
    place = parameters
    for parent in parents:
        place = place.setdefault(parent, {})
    if value is ABSENT:
        place.pop(name, None)
    else:
        place[name] = value
    return parameters


async def describe(bench: GatewayBench, changes: Mapping[str, str | None]) -> Answer:
    return await bench.call("DescribeCloudSliceTask", DESCRIBE, changes)


async def describe_v1(bench: GatewayBench, method: str = "GET", **changes: str | None) -> Answer:
    fields = v1_fields(
        KEYS,
        "DescribeCloudSliceTask",
        FLAT_DESCRIBE,
        timestamp=NOW,
        host=HOST,
        method=method,
        **changes,
    )
    return await bench.send_v1(method, fields)


def describe_headers(*, keys: KeyPair = KEYS, **changes: Any) -> dict[str, str]:
    return tc3_headers(keys, "DescribeCloudSliceTask", timestamp=NOW, host=HOST, **changes)
