"""What the gateway takes as a request's body, and how much of it (docs/wire.md, 1)."""

import pytest

from helpers.api_calls import DESCRIBE, describe_headers, describe_v1
from helpers.api_fakes import APP, BOUNDARY, TASK_ID, GatewayBench
from helpers.signing import multipart


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
async def test_json_may_name_its_charset(bench: GatewayBench, content_type: str) -> None:
    signed = describe_headers(body=b'{"SdkAppId":1}', content_type=content_type)
    answer = await bench.send("POST", signed, content=b'{"SdkAppId":1}')
    assert answer.code == "MissingParameter.TaskId"


MALFORMED_BODIES = [
    pytest.param(b"", id="empty"),
    pytest.param(b"SdkAppId=1", id="a-form"),
    pytest.param(b"[]", id="a-list"),
    pytest.param(b"null", id="null"),
    pytest.param(b'{"SdkAppId":1', id="cut-off"),
    pytest.param(b'{"SdkAppId":NaN}', id="nan"),
    pytest.param(b'{"SdkAppId":Infinity}', id="infinity"),
    pytest.param(b'{"TaskId":"\xff"}', id="not-utf-8"),
    pytest.param(b'{"TaskId":"\\ud800"}', id="half-a-surrogate"),
    pytest.param(b'{"a":' * 100_000, id="nested-too-deeply"),
    pytest.param(b'{"TaskId":' + b"9" * 100_000 + b"}", id="enormous-number"),
    pytest.param(b'{"TaskId":[' + b"1," * 1_000_000 + b"1]}", id="a-million-values"),
]


@pytest.mark.parametrize("body", MALFORMED_BODIES)
async def test_a_body_that_is_no_json_object_is_refused(bench: GatewayBench, body: bytes) -> None:
    assert (await bench.call_raw("DescribeCloudSliceTask", body)).code == "InvalidParameter"


async def test_a_malformed_multipart_body_is_refused(bench: GatewayBench) -> None:
    body = multipart(DESCRIBE, BOUNDARY)[:-10]
    signed = describe_headers(body=body, content_type=f"multipart/form-data; boundary={BOUNDARY}")
    assert (await bench.send("POST", signed, content=body)).code == "InvalidRequest"


async def test_json_escapes_spaces_nulls_and_repeated_names(bench: GatewayBench) -> None:
    """All of it is normal in what clients send; of a repeated name the last counts."""
    text = f' {{ "TaskId" : "x", "SdkAppId" : {APP} , "TaskId" : "{TASK_ID}" }} \n'
    escaped = "".join(f"\\u{ord(char):04x}" for char in TASK_ID)
    for body in (text, text.replace(TASK_ID, escaped)):
        assert (await bench.call_raw("DescribeCloudSliceTask", body.encode())).code is None
    nulls = {"SubscribeStreamUserIds": None, **DESCRIBE}
    assert (await bench.call("ModifyCloudSliceTask", nulls)).code is None


@pytest.mark.parametrize(
    ("bytes_over", "code"), [(0, "ResourceNotFound"), (1, "RequestSizeLimitExceeded")]
)
async def test_a_json_body_may_have_10_megabytes(
    bench: GatewayBench, bytes_over: int, code: str
) -> None:
    empty = f'{{"SdkAppId":{APP},"TaskId":""}}'
    padding = "x" * (10 * 1024 * 1024 - len(empty) + bytes_over)
    body = empty.replace('""', f'"{padding}"').encode()
    assert (await bench.call_raw("DescribeCloudSliceTask", body)).code == code


async def test_a_form_body_may_have_1_megabyte(bench: GatewayBench) -> None:
    assert (await describe_v1(bench, "POST", TaskId="x" * 1_000_000)).code == "ResourceNotFound"
    answer = await describe_v1(bench, "POST", TaskId="x" * 1_048_576)
    assert answer.code == "RequestSizeLimitExceeded"


async def test_a_get_request_may_have_32_kilobytes(bench: GatewayBench) -> None:
    assert (await describe_v1(bench, TaskId="x" * 30_000)).code == "ResourceNotFound"
    answer = await describe_v1(bench, TaskId="x" * 32_768)
    assert answer.code == "RequestSizeLimitExceeded"
    fat = {"X-Fat": "x" * 32_768}
    assert (await bench.send("GET", fat)).code == "RequestSizeLimitExceeded"
