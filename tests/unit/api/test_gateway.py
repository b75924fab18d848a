"""The gateway as a client sees it: envelope, encodings, rates, faults, order of checks."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from helpers.api_calls import DESCRIBE, describe, describe_headers, describe_v1
from helpers.api_fakes import (
    APP,
    FORBIDDEN_APP,
    KEYS,
    TASK_ID,
    Answer,
    GatewayBench,
    create_parameters,
    make_settings,
)

FORM = "application/x-www-form-urlencoded"
ENCODINGS = ["json", "get", "multipart", "v1-get", "v1-post"]


async def test_a_success_carries_the_outputs_and_a_request_id(bench: GatewayBench) -> None:
    answer = await bench.call("DescribeCloudSliceTask", DESCRIBE)
    assert answer.body.keys() == {"TaskId", "Status", "RequestId"}
    assert answer.body["Status"] == "InProgress"
    assert answer.response.headers["content-length"] == str(len(answer.response.content))


async def test_a_failure_carries_a_code_a_message_and_a_request_id(bench: GatewayBench) -> None:
    answer = await bench.call("DescribeCloudSliceTask", DESCRIBE | {"TaskId": "other"})
    assert answer.code == "ResourceNotFound"


async def test_every_answer_has_a_request_id_of_its_own(bench: GatewayBench) -> None:
    answers = [await bench.call("DescribeCloudSliceTask", DESCRIBE) for _ in range(3)]
    assert len({answer.body["RequestId"] for answer in answers}) == 3
    assert {uuid.UUID(answer.body["RequestId"]).version for answer in answers} == {4}


async def test_a_trace_id_is_echoed(bench: GatewayBench) -> None:
    """On success and on failure alike; without one there is none."""
    for action in ("DescribeCloudSliceTask", "Nothing"):
        answer = await bench.call(action, DESCRIBE, {"X-TC-TraceId": "0a1b-trace"})
        assert answer.response.headers["x-tc-traceid"] == "0a1b-trace"
    assert "x-tc-traceid" not in (await describe(bench, {})).response.headers


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_every_encoding_asks_for_the_same_task(bench: GatewayBench, encoding: str) -> None:
    """Numbers that arrive as text are numbers, and list entries keep their order."""
    parameters = create_parameters()
    ids = {
        f"Subscribe{medium}UserIds": [f"u{n}" for n in range(12)] for medium in ("Audio", "Video")
    }
    parameters["SliceParams"]["SubscribeStreamUserIds"] = ids
    await bench.call_encoded("json", "CreateCloudSliceTask", parameters)
    answer = await bench.call_encoded(encoding, "CreateCloudSliceTask", parameters)
    assert answer.body["TaskId"] == TASK_ID
    assert bench.tasks.created[0] == bench.tasks.created[1]
    assert bench.tasks.created[0].lists.audio_allow == tuple(f"u{number}" for number in range(12))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"X-TC-RequestClient": "SDK_PYTHON_3.1.177"}, id="request-client"),
        pytest.param({"X-Idempotency-Key": "a"}, id="idempotency-key"),
        pytest.param({"X-TC-Language": "de-DE"}, id="unknown-language"),
        pytest.param({"X-TC-Token": ""}, id="empty-token"),
    ],
)
async def test_headers_that_clients_add_are_accepted(
    bench: GatewayBench, changes: Mapping[str, str]
) -> None:
    assert (await describe(bench, changes)).code is None


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"Nonce": "0"}, id="nonce-0"),
        pytest.param({"Language": "zh-CN", "RequestClient": "SDK_GO_3.0.1474"}, id="go-fields"),
        pytest.param({"SignatureMethod": None}, id="no-signature-method"),
    ],
)
async def test_fields_that_clients_add_are_accepted(
    bench: GatewayBench, changes: Mapping[str, str | None]
) -> None:
    assert (await describe_v1(bench, algorithm="HmacSHA1", **changes)).code is None


async def test_common_parameters_in_the_query_yield_to_the_headers(bench: GatewayBench) -> None:
    """Generic clients send both; and the query will do where a header is absent."""
    query = f"Action=Nothing&Region=nowhere&Version=1&SdkAppId={APP}&TaskId=x"
    signed = describe_headers(query=query, method="GET", content_type=FORM)
    assert (await bench.send("GET", signed, query=query)).code == "ResourceNotFound"
    query = f"Action=Nothing&Region=ap-guangzhou&SdkAppId={APP}&TaskId=x"
    signed = describe_headers(query=query, method="GET", content_type=FORM)
    without_region = signed | {"X-TC-Region": None}
    assert (await bench.send("GET", without_region, query=query)).code == "ResourceNotFound"


async def test_the_path_does_not_matter(bench: GatewayBench) -> None:
    """Clients that are told an endpoint with a path sign `/` all the same."""
    body = b'{"SdkAppId":1}'
    response = await bench.http.post("/base", headers=describe_headers(body=body), content=body)
    assert Answer(response).code == "MissingParameter.TaskId"


LANGUAGES = [
    pytest.param("zh-CN", "缺少", id="chinese"),
    pytest.param("en-US", "missing", id="english"),
    pytest.param(None, "missing", id="default"),
]


@pytest.mark.parametrize(("language", "word"), LANGUAGES)
async def test_the_language_of_messages_is_the_callers(
    bench: GatewayBench, language: str | None, word: str
) -> None:
    assert word in (await bench.call("DismissRoom", {}, {"X-TC-Language": language})).message
    assert word in (await describe_v1(bench, Language=language, Version=None)).message


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "FOO"])
async def test_other_methods_are_not_supported(bench: GatewayBench, method: str) -> None:
    assert (await bench.send(method, describe_headers())).code == "UnsupportedProtocol"


async def test_head_is_answered_without_a_body(bench: GatewayBench) -> None:
    """HTTP forbids one; the headers are those of the refusal."""
    response = await bench.http.head("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.content == b""


async def test_twenty_calls_a_second_of_each_action(bench: GatewayBench) -> None:
    """The window slides: 20 in any second; another action has its own count."""
    codes = [(await describe(bench, {})).code for _ in range(21)]
    assert codes == [None] * 20 + ["RequestLimitExceeded"]
    assert (await bench.call("DeleteCloudSliceTask", DESCRIBE)).code is None
    bench.clock.now_s += 1
    assert (await describe(bench, {})).code is None


async def test_a_credential_has_the_highest_limit_of_its_apps() -> None:
    apps = [
        {"sdk_app_id": APP, "secret_key": "k", "limits": {"requests_per_second": 1}},
        {"sdk_app_id": APP + 1, "secret_key": "k", "limits": {"requests_per_second": 3}},
    ]
    keys = {"secret_id": KEYS.secret_id, "secret_key": KEYS.secret_key}
    settings = make_settings(apps=apps, credentials=[{**keys, "sdk_app_ids": [APP, APP + 1]}])
    bench = GatewayBench(settings)
    codes = [(await describe(bench, {})).code for _ in range(4)]
    assert codes == [None, None, None, "RequestLimitExceeded"]


async def test_unsigned_calls_do_not_use_up_the_limit(bench: GatewayBench) -> None:
    for _ in range(30):
        await describe(bench, {"Authorization": "SKIP"})
    assert (await describe(bench, {})).code is None


async def test_an_app_that_is_not_served_or_not_the_callers(bench: GatewayBench) -> None:
    """The slicing and the room actions have different codes for the latter."""
    room = {"RoomId": 1}
    for action, parameters, forbidden in (
        ("DescribeCloudSliceTask", {"TaskId": "x"}, "AuthFailure.UnauthorizedOperation"),
        ("DismissRoom", room, "UnauthorizedOperation.SdkAppId"),
    ):
        unknown = await bench.call(action, {"SdkAppId": 5, **parameters})
        assert unknown.code == "InvalidParameter.SdkAppId"
        other = await bench.call(action, {"SdkAppId": FORBIDDEN_APP, **parameters})
        assert other.code == forbidden


async def test_the_operator_may_restrict_the_service() -> None:
    bench = GatewayBench(make_settings(api={"services": ["trtc"]}))
    assert (await describe(bench, {})).code is None
    signed = describe_headers(body=b"{}", service="cvm")
    assert (await bench.send("POST", signed, content=b"{}")).code == "NoSuchProduct"


@pytest.mark.parametrize(
    ("api", "client", "code"),
    [
        pytest.param({"blocked_addresses": ["10.0.0.0/8"]}, "10.1.2.3", "IpInBlacklist", id="in"),
        pytest.param({"blocked_addresses": ["10.0.0.0/8"]}, "11.1.2.3", None, id="not-blocked"),
        pytest.param(
            {"blocked_addresses": ["10.0.0.0/8"]}, "::ffff:10.1.2.3", "IpInBlacklist", id="mapped"
        ),
        pytest.param({"allowed_addresses": ["::1", "10.0.0.1"]}, "::1", None, id="allowed"),
        pytest.param(
            {"allowed_addresses": ["10.0.0.1"]}, "10.0.0.2", "IpNotInWhitelist", id="not-allowed"
        ),
        pytest.param({"allowed_addresses": ["10.0.0.1"]}, "", "IpNotInWhitelist", id="unknown"),
        pytest.param({"allowed_addresses": ["10.0.0.1"]}, "\xe9;--", "IpNotInWhitelist", id="junk"),
        pytest.param({"blocked_addresses": ["10.0.0.1"]}, "host", "IpNotInWhitelist", id="a-name"),
        pytest.param({}, "\xe9;--", None, id="junk-that-does-not-matter"),
    ],
)
async def test_the_operator_may_restrict_callers_by_address(
    api: dict[str, list[str]], client: str, code: str | None
) -> None:
    bench = GatewayBench(make_settings(api=api), client=(client, 1234))
    assert (await describe(bench, {})).code == code


async def test_a_server_that_is_about_to_stop_says_so(bench: GatewayBench) -> None:
    bench.gateway.drain()
    assert (await describe(bench, {})).code == "ServiceUnavailable"


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("DescribeCloudSliceTask", DESCRIBE, "InternalError.CSInternalError"),
        ("ModifyCloudSliceTask", DESCRIBE, "InternalError.CSInternalError"),
        ("DeleteCloudSliceTask", DESCRIBE, "InternalError.CSInternalError"),
        ("CreateCloudSliceTask", create_parameters(), "InternalError.CSInternalError"),
        ("DismissRoom", {"SdkAppId": APP, "RoomId": 1}, "InternalError"),
    ],
)
async def test_a_fault_of_ours_is_an_internal_error(
    bench: GatewayBench, action: str, parameters: dict[str, Any], code: str
) -> None:
    """The log has what the caller must not see, under the RequestId that the caller has."""
    bench.tasks.failure = bench.rooms.failure = ZeroDivisionError("secret detail")
    with capture_logs() as logs:
        answer = await bench.call(action, parameters)
    assert answer.code == code
    assert "detail" not in answer.message
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [
        ("api call broke", "error"),
        ("api call", "info"),
    ]


async def test_every_call_is_logged_without_secrets(bench: GatewayBench) -> None:
    parameters = create_parameters()
    with capture_logs() as logs:
        await bench.call("CreateCloudSliceTask", parameters)
        await describe(bench, {"X-TC-Region": None})
    assert [(entry["action"], entry["code"]) for entry in logs] == [
        ("CreateCloudSliceTask", "OK"),
        ("", "MissingParameter"),
    ]
    assert logs[0]["secret_id"] == KEYS.secret_id
    text = repr(logs)
    assert "StorageSecretKey" not in text
    assert parameters["UserSig"] not in text


# docs/wire.md, 5: of several faults the one whose check comes first is answered.


async def test_the_order_of_checks(bench: GatewayBench) -> None:
    """A call with every fault; each repaired one uncovers the next."""
    changes: dict[str, str | None] = {
        "X-TC-Version": "1",
        "X-TC-Action": "Nothing",
        "X-TC-Region": "mars",
        "Authorization": "TC3-HMAC-SHA256 Credential=a/b/c/tc3_request,"
        f"SignedHeaders=content-type;host,Signature={'0' * 64}",
    }
    parameters: dict[str, Any] = {"Unknown": 1, "SdkAppId": "5", "RoomId": "0"}

    async def code() -> str | None:
        return (await bench.call("CreateCloudSliceTask", parameters, changes)).code

    assert (await bench.send("PUT", {}, content=b"x")).code == "UnsupportedProtocol"
    assert (await bench.call_raw("x", b"{" * 11_000_000)).code == "RequestSizeLimitExceeded"
    bad_body = await bench.call_raw("x", b"{", {"X-TC-Version": None})
    assert bad_body.code == "InvalidParameter"
    missing = await bench.call("x", {}, changes | {"X-TC-Timestamp": None})
    assert missing.code == "MissingParameter"
    assert await code() == "NoSuchVersion"
    del changes["X-TC-Version"]
    assert await code() == "InvalidAction"
    del changes["X-TC-Action"]
    assert await code() == "InvalidParameterValue"
    del changes["X-TC-Region"]
    assert await code() == "AuthFailure.SecretIdNotFound"
    del changes["Authorization"]
    for _ in range(20):
        assert await code() == "UnknownParameter"
    assert await code() == "RequestLimitExceeded"
    bench.clock.now_s += 2
    del parameters["Unknown"]
    assert await code() == "InvalidParameter"
    parameters["SdkAppId"] = 5
    assert await code() == "MissingParameter.UserId"
    parameters |= create_parameters() | {"SdkAppId": 5, "RoomId": "0", "UserSig": "x"}
    assert await code() == "InvalidParameter.OutOfRange"
    parameters["RoomId"] = "1"
    assert await code() == "InvalidParameter.SdkAppId"
    parameters["SdkAppId"] = APP
    assert await code() == "InvalidParameter.UserSig"
    assert bench.tasks.created == []
