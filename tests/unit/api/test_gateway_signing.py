"""The gateway takes signed calls with their common parameters, and no others (docs/wire.md, 6)."""

from collections.abc import Mapping

import pytest

from helpers.api_calls import FLAT_DESCRIBE, describe, describe_headers, describe_v1
from helpers.api_fakes import APP, HOST, KEYS, NOW, TASK_ID, GatewayBench, make_settings
from helpers.signing import KeyPair, tc3_headers, v1_fields

FORM = "application/x-www-form-urlencoded"


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
    signed_headers = describe_headers(body=body, signed_host=signed) | {"Host": sent}
    assert (await bench.send("POST", signed_headers, content=body)).code is None
    if sent.lower() == sent:
        fields = v1_fields(
            KEYS, "DescribeCloudSliceTask", FLAT_DESCRIBE, timestamp=NOW, host=signed
        )
        query = "&".join(f"{name}={value.replace('+', '%2B')}" for name, value in fields.items())
        assert (await bench.send("GET", {"Host": sent}, query=query)).code is None


async def test_a_host_that_was_not_signed_is_refused(bench: GatewayBench) -> None:
    assert (await describe(bench, {"Host": "example.com"})).code == "AuthFailure.SignatureFailure"


# docs/wire.md, 6.3, row by row. Each case is one change of a call that would succeed.


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
    assert "the date in `Credential` is `2023-11-13`" in answer.message
    assert "of the UTC day `2023-11-14`" in answer.message


LARGE = b"[" + b"x" * 1024 * 1024
"""No JSON, and longer than a stranger's body may be."""


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"Authorization": None}, "MissingParameter", id="no-authorization"),
        pytest.param(
            {"Authorization": None, "X-TC-Action": None}, "InvalidParameter", id="no-signature"
        ),
        pytest.param({"X-TC-Action": "Other"}, "InvalidAction", id="no-action"),
        pytest.param(
            {"Authorization": describe_headers(keys=KeyPair("AKIDother", "x"))["Authorization"]},
            "AuthFailure.SecretIdNotFound",
            id="no-known-key",
        ),
        pytest.param({"X-TC-Timestamp": str(NOW - 301)}, "AuthFailure.SignatureExpire", id="old"),
        pytest.param(
            {"X-TC-Timestamp": str(NOW - 300)}, "AuthFailure.SignatureFailure", id="no-fit"
        ),
        pytest.param({}, "InvalidParameter", id="signed"),
    ],
)
async def test_a_large_body_is_looked_at_only_if_its_sender_is_known(
    bench: GatewayBench, changes: dict[str, str | None], code: str
) -> None:
    """What is in it, if the signature fits."""
    signed: dict[str, str | None] = {**describe_headers(body=LARGE)}
    assert (await bench.send("POST", signed | changes, content=LARGE)).code == code


async def test_an_altered_body_is_refused(bench: GatewayBench) -> None:
    answer = await bench.send("POST", describe_headers(body=b"{}"), content=b"{} ")
    assert answer.code == "AuthFailure.SignatureFailure"
    assert "Please check your signature" in answer.message


async def test_an_unsigned_payload_may_be_anything(bench: GatewayBench) -> None:
    signed = describe_headers(unsigned_payload=True)
    answer = await bench.send("POST", signed, content=b'{"SdkAppId": 1}')
    assert answer.code == "MissingParameter.TaskId"


@pytest.mark.parametrize("seconds", [-300, 300])
async def test_the_clocks_may_be_five_minutes_apart(bench: GatewayBench, seconds: int) -> None:
    body = b"{}"
    signed = tc3_headers(KEYS, "DismissRoom", timestamp=NOW + seconds, host=HOST, body=body)
    answer = await bench.send("POST", signed, content=body)
    assert answer.code == "MissingParameter.SdkAppId"
