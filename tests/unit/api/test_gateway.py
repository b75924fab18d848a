"""The gateway as a client sees it: envelope, common parameters, authentication (contract A, B)."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from helpers.api_fakes import (
    APP,
    BOUNDARY,
    FORBIDDEN_APP,
    HOST,
    KEYS,
    NOW,
    TASK_ID,
    Answer,
    GatewayBench,
    create_parameters,
    make_settings,
)
from helpers.signing import KeyPair, multipart, tc3_headers, v1_fields

DESCRIBE = {"SdkAppId": APP, "TaskId": TASK_ID}
FLAT_DESCRIBE = {"SdkAppId": str(APP), "TaskId": TASK_ID}
FORM = "application/x-www-form-urlencoded"
ENCODINGS = ["json", "get", "multipart", "v1-get", "v1-post"]


@pytest.fixture
def bench() -> GatewayBench:
    return GatewayBench()


def headers(**changes: Any) -> dict[str, str]:
    return tc3_headers(KEYS, "DescribeCloudSliceTask", timestamp=NOW, host=HOST, **changes)


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


@pytest.mark.parametrize("algorithm", ["HmacSHA1", "HmacSHA256"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_v1_takes_both_hashes_and_both_methods(
    bench: GatewayBench, method: str, algorithm: str
) -> None:
    fields = v1_fields(
        KEYS,
        "DescribeCloudSliceTask",
        FLAT_DESCRIBE,
        timestamp=NOW,
        host=HOST,
        method=method,
        algorithm=algorithm,
    )
    assert (await bench.send_v1(method, fields)).code is None


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


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
async def test_json_may_name_its_charset(bench: GatewayBench, content_type: str) -> None:
    signed = headers(body=b'{"SdkAppId":1}', content_type=content_type)
    answer = await bench.send("POST", signed, content=b'{"SdkAppId":1}')
    assert answer.code == "MissingParameter.TaskId"


@pytest.mark.parametrize(
    ("sent", "signed"),
    [
        pytest.param("127.0.0.1:8080", "127.0.0.1:8080", id="with-port"),
        pytest.param("127.0.0.1:8080", "127.0.0.1", id="node-signs-without-port"),
        pytest.param("[::1]:8080", "[::1]", id="ipv6-without-port"),
        pytest.param("http://127.0.0.1:8080", "http://127.0.0.1:8080", id="tccli-sends-a-url"),
        pytest.param("Slicer.Example:80", "slicer.example:80", id="lower-cased"),
        pytest.param("gateway.example", HOST, id="alias-behind-a-proxy"),
    ],
)
async def test_the_signed_host_is_found(sent: str, signed: str) -> None:
    """Both ways of signing, whatever part of the endpoint the client took for the host."""
    bench = GatewayBench(make_settings(api={"host_aliases": [HOST]}))
    body = b'{"SdkAppId":%d,"TaskId":"%s"}' % (APP, TASK_ID.encode())
    signed_headers = headers(body=body, signed_host=signed) | {"Host": sent}
    assert (await bench.send("POST", signed_headers, content=body)).code is None
    if sent.lower() == sent:
        fields = v1_fields(
            KEYS, "DescribeCloudSliceTask", FLAT_DESCRIBE, timestamp=NOW, host=signed
        )
        query = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in fields.items())
        assert (await bench.send("GET", {"Host": sent}, query=query)).code is None


async def test_a_host_that_was_not_signed_is_refused(bench: GatewayBench) -> None:
    assert (await describe(bench, {"Host": "example.com"})).code == "AuthFailure.SignatureFailure"


async def test_common_parameters_in_the_query_yield_to_the_headers(bench: GatewayBench) -> None:
    """Generic clients send both; and the query will do where a header is absent."""
    query = f"Action=Nothing&Region=nowhere&Version=1&SdkAppId={APP}&TaskId=x"
    signed = headers(query=query, method="GET", content_type=FORM)
    assert (await bench.send("GET", signed, query=query)).code == "ResourceNotFound"
    query = f"Action=Nothing&Region=ap-guangzhou&SdkAppId={APP}&TaskId=x"
    signed = headers(query=query, method="GET", content_type=FORM)
    without_region = signed | {"X-TC-Region": None}
    assert (await bench.send("GET", without_region, query=query)).code == "ResourceNotFound"


async def test_the_path_does_not_matter(bench: GatewayBench) -> None:
    """Clients that are told an endpoint with a path sign `/` all the same."""
    body = b'{"SdkAppId":1}'
    response = await bench.http.post("/base", headers=headers(body=body), content=body)
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


# Contract B3, row by row. Each case is one change of a call that would succeed.

TC3_FAILURES = [
    pytest.param(
        {"Authorization": "TC3-HMAC-SHA256 nonsense"},
        "AuthFailure.InvalidAuthorization",
        id="authorization-unparsable",
    ),
    pytest.param({"Authorization": "SKIP"}, "AuthFailure.InvalidAuthorization", id="skip"),
    pytest.param({"Authorization": "Basic eA=="}, "AuthFailure.InvalidAuthorization", id="basic"),
    pytest.param({"X-TC-Token": "temporary"}, "AuthFailure.TokenFailure", id="unknown-token"),
    pytest.param({"Authorization": None}, "MissingParameter", id="no-authorization"),
    pytest.param({"X-TC-Action": None}, "MissingParameter", id="no-action"),
    pytest.param({"X-TC-Action": ""}, "MissingParameter", id="empty-action"),
    pytest.param({"X-TC-Version": None}, "MissingParameter", id="no-version"),
    pytest.param({"X-TC-Timestamp": None}, "MissingParameter", id="no-timestamp"),
    pytest.param({"X-TC-Region": None}, "MissingParameter", id="no-region"),
    pytest.param({"X-TC-Region": ""}, "MissingParameter", id="empty-region"),
    pytest.param({"X-TC-Region": "null"}, "MissingParameter", id="region-null"),
    pytest.param({"X-TC-Region": "undefined"}, "MissingParameter", id="region-undefined"),
    pytest.param({"X-TC-Timestamp": "soon"}, "InvalidParameter", id="timestamp-a-word"),
    pytest.param({"X-TC-Timestamp": "1700000000.5"}, "InvalidParameter", id="timestamp-fraction"),
    pytest.param({"X-TC-Timestamp": "-1700000000"}, "InvalidParameter", id="timestamp-negative"),
    pytest.param({"X-TC-Timestamp": str(NOW - 301)}, "AuthFailure.SignatureExpire", id="too-old"),
    pytest.param({"X-TC-Timestamp": str(NOW + 301)}, "AuthFailure.SignatureExpire", id="too-new"),
    pytest.param({"X-TC-Timestamp": "9" * 20}, "AuthFailure.SignatureExpire", id="far-future"),
    pytest.param({"X-TC-Timestamp": str(NOW + 1)}, "AuthFailure.SignatureFailure", id="other-time"),
    pytest.param({"X-TC-Action": "describeCloudSliceTask"}, "InvalidAction", id="action-case"),
    pytest.param({"X-TC-Action": "StartCloudRecording"}, "InvalidAction", id="unknown-action"),
    pytest.param({"X-TC-Version": "2017-03-12"}, "NoSuchVersion", id="other-version"),
    pytest.param({"X-TC-Region": "ap-tokyo"}, "UnsupportedRegion", id="region-not-served"),
    pytest.param({"X-TC-Region": "mars-north"}, "InvalidParameterValue", id="no-region-name"),
    pytest.param({"Content-Type": FORM}, "InvalidParameter", id="form-body-with-tc3"),
    pytest.param({"Content-Type": None}, "InvalidParameter", id="no-content-type"),
    pytest.param({"Content-Type": "text/plain"}, "InvalidParameter", id="text-body"),
    pytest.param(
        {"Content-Type": "application/octet-stream"}, "InvalidParameter", id="octet-stream"
    ),
    pytest.param(
        {"Content-Type": "application/json; charset=utf-8"},
        "AuthFailure.SignatureFailure",
        id="content-type-altered",
    ),
    pytest.param({"Content-Type": "multipart/form-data"}, "InvalidRequest", id="no-boundary"),
]


@pytest.mark.parametrize(("changes", "code"), TC3_FAILURES)
async def test_a_broken_tc3_call_gets_its_code(
    bench: GatewayBench, changes: Mapping[str, str | None], code: str
) -> None:
    assert (await describe(bench, changes)).code == code


async def test_a_missing_common_parameter_is_named(bench: GatewayBench) -> None:
    answer = await describe(bench, {"X-TC-Region": None})
    assert answer.message == "The request is missing a required parameter `Region`."


V1_FAILURES = [
    *(
        pytest.param({name: None}, "MissingParameter", id=f"no-{name}")
        for name in ("SecretId", "Timestamp", "Nonce", "Action", "Version", "Region")
    ),
    pytest.param({"Region": ""}, "MissingParameter", id="empty-region"),
    pytest.param({"Timestamp": "soon"}, "InvalidParameter", id="timestamp-a-word"),
    pytest.param({"Nonce": "-1"}, "InvalidParameter", id="nonce-negative"),
    pytest.param({"Timestamp": str(NOW - 301)}, "AuthFailure.SignatureExpire", id="too-old"),
    pytest.param({"SecretId": "AKIDother"}, "AuthFailure.SecretIdNotFound", id="unknown-secret-id"),
    pytest.param({"Token": "temporary"}, "AuthFailure.TokenFailure", id="unknown-token"),
    pytest.param({"Action": "Nothing"}, "InvalidAction", id="unknown-action"),
    pytest.param({"Version": "2017-03-12"}, "NoSuchVersion", id="other-version"),
    pytest.param({"Region": "ap-tokyo"}, "UnsupportedRegion", id="region-not-served"),
    pytest.param({"Region": "mars-north"}, "InvalidParameterValue", id="no-region-name"),
    pytest.param({"Extra": "1"}, "UnknownParameter", id="unknown-name"),
    pytest.param({"SdkAppId": "-1"}, "InvalidParameter", id="negative-number"),
    pytest.param({"SdkAppId": "1.5"}, "InvalidParameter", id="fraction"),
    pytest.param({"SdkAppId": ""}, "MissingParameter.SdkAppId", id="empty-number"),
    pytest.param({"TaskId": ""}, "MissingParameter.TaskId", id="empty-text"),
]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(("changes", "code"), V1_FAILURES)
async def test_a_broken_v1_call_gets_its_code(
    bench: GatewayBench, method: str, changes: Mapping[str, str | None], code: str
) -> None:
    assert (await describe_v1(bench, method, **changes)).code == code


async def test_a_v1_call_without_or_with_a_wrong_signature(bench: GatewayBench) -> None:
    fields = v1_fields(KEYS, "DescribeCloudSliceTask", FLAT_DESCRIBE, timestamp=NOW, host=HOST)
    altered = fields | {"TaskId": "another"}
    assert (await bench.send_v1("GET", altered)).code == "AuthFailure.SignatureFailure"
    assert (await bench.send_v1("POST", fields)).code == "AuthFailure.SignatureFailure"
    del fields["Signature"]
    assert (await bench.send_v1("GET", fields)).code == "MissingParameter"


async def test_json_with_v1_is_refused(bench: GatewayBench) -> None:
    answer = await bench.send("POST", {"Content-Type": "application/json"}, content=b"{}")
    assert answer.code == "InvalidParameter"
    assert "TC3-HMAC-SHA256" in answer.message


async def test_a_form_field_without_an_equals_sign_is_refused(bench: GatewayBench) -> None:
    answer = await bench.send("POST", {"Content-Type": FORM}, content=b"Action=A&Version")
    assert answer.code == "InvalidParameter"
    assert answer.message == "Url key and value should be splited by `=`."
    assert (await bench.send("GET", {}, query="Action")).code == "InvalidParameter"


async def test_an_unknown_or_wrong_key_pair(bench: GatewayBench) -> None:
    body = b"{}"
    for keys, code in (
        (KeyPair("AKIDother", KEYS.secret_key), "AuthFailure.SecretIdNotFound"),
        (KeyPair(KEYS.secret_id, "other"), "AuthFailure.SignatureFailure"),
    ):
        signed = tc3_headers(keys, "DismissRoom", timestamp=NOW, host=HOST, body=body)
        assert (await bench.send("POST", signed, content=body)).code == code


async def test_a_credential_date_of_another_day_is_refused(bench: GatewayBench) -> None:
    """Even though the signature fits that day."""
    body = b"{}"
    signed = tc3_headers(KEYS, "DismissRoom", timestamp=NOW - 86400, host=HOST, body=body)
    answer = await bench.send("POST", signed | {"X-TC-Timestamp": str(NOW)}, content=body)
    assert answer.code == "AuthFailure.SignatureFailure"


async def test_an_altered_body_is_refused(bench: GatewayBench) -> None:
    answer = await bench.send("POST", headers(body=b"{}"), content=b"{} ")
    assert answer.code == "AuthFailure.SignatureFailure"
    assert "Please check your signature" in answer.message


async def test_an_unsigned_payload_may_be_anything(bench: GatewayBench) -> None:
    signed = headers(unsigned_payload=True)
    answer = await bench.send("POST", signed, content=b'{"SdkAppId": 1}')
    assert answer.code == "MissingParameter.TaskId"


@pytest.mark.parametrize("seconds", [-300, 300])
async def test_the_clocks_may_be_five_minutes_apart(bench: GatewayBench, seconds: int) -> None:
    body = b"{}"
    signed = tc3_headers(KEYS, "DismissRoom", timestamp=NOW + seconds, host=HOST, body=body)
    answer = await bench.send("POST", signed, content=body)
    assert answer.code == "MissingParameter.SdkAppId"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "FOO"])
async def test_other_methods_are_not_supported(bench: GatewayBench, method: str) -> None:
    assert (await bench.send(method, headers())).code == "UnsupportedProtocol"


async def test_head_is_answered_without_a_body(bench: GatewayBench) -> None:
    """HTTP forbids one; the headers are those of the refusal."""
    response = await bench.http.head("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.content == b""


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
    signed = headers(body=body, content_type=f"multipart/form-data; boundary={BOUNDARY}")
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
    signed = headers(body=b"{}", service="cvm")
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


# Contract A6: of several faults the one whose check comes first is answered.


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
