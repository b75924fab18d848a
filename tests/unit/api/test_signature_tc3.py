"""TC3-HMAC-SHA256: the published and recomputed vectors, and what clients do differently."""

import hashlib
import hmac
from dataclasses import replace

import pytest

from cloudslice.api.errors import ApiError, Code
from cloudslice.api.http_exchange import Head, HttpRequest
from cloudslice.api.signature_tc3 import Tc3Proof, parse_authorization

EXAMPLE_KEY = "ExampleSecretKeyExampleSecretKey0001"
EXAMPLE_ID = "AKIDEXAMPLEEXAMPLEEXAMPLEEXAMPLE0001"
HOST = "trtc.intl.tencentcloudapi.com"
BODY = b'{"SdkAppId": 1400000000, "TaskId": "-m9-EXAMPLE+TaskId.."}'
QUERY = b"SdkAppId=1400000000&TaskId=-m9-EXAMPLE%2BTaskId.."
BOUNDARY = "0123456789abcdef0123456789abcdef"
MULTIPART_BODY = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="SdkAppId"\r\n\r\n1400000000\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="TaskId"\r\n\r\n'
    f"-m9-EXAMPLE+TaskId..\r\n--{BOUNDARY}--\r\n"
).encode()


def request(
    method: str,
    content_type: str,
    *,
    query: bytes = b"",
    body: bytes = b"",
    host: str = HOST,
    **headers: str,
) -> HttpRequest:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    given = {"content-type": content_type, "host": host, **named}
    return HttpRequest(Head(method, query, given, size=0), body)


def header(signature: str, *, secret_id: str = EXAMPLE_ID, scope: str = "2023-11-14/trtc") -> str:
    return (
        f"TC3-HMAC-SHA256 Credential={secret_id}/{scope}/tc3_request, "
        f"SignedHeaders=content-type;host, Signature={signature}"
    )


PUBLISHED = (
    request(
        "POST",
        "application/json; charset=utf-8",
        body=b'{"Limit": 1, "Filters": [{"Values": ["unnamed"], "Name": "instance-name"}]}',
        host="cvm.tencentcloudapi.com",
    ),
    1551113065,
    "*" * 32,
    header(
        "a7b8551448762bd123d6f79e81815e31a92013640a6cef36a08ad4b292a4d2f2",
        scope="2019-02-25/cvm",
    ),
)
JSON = (
    request("POST", "application/json", body=BODY),
    1700000000,
    EXAMPLE_KEY,
    header("00801b81baa973d8c77d519429f66a7d4de8d970842797ceec85de5878944331"),
)
GET = (
    request("GET", "application/x-www-form-urlencoded", query=QUERY),
    1700000000,
    EXAMPLE_KEY,
    header("30d2dc928d7baadc7f3c0d8a16c32e6a1bb34c2ade58d0e758ed2f67f49e4649"),
)
UNSIGNED = (
    request("POST", "application/json", body=BODY, x_tc_content_sha256="UNSIGNED-PAYLOAD"),
    1700000000,
    EXAMPLE_KEY,
    header("fd77100d29da27a6e46f414d41215cab6876b4165df3aa05645b6f7e4b9c6afc"),
)
MULTIPART = (
    request("POST", f"multipart/form-data; boundary={BOUNDARY}", body=MULTIPART_BODY),
    1700000000,
    EXAMPLE_KEY,
    header("05b4d35fcd30d174d92c40301c64f2796ef7a098b827657e69098d85f5e870ba"),
)
VECTORS = [
    pytest.param(*PUBLISHED, id="published"),
    pytest.param(*JSON, id="json"),
    pytest.param(*GET, id="get"),
    pytest.param(*UNSIGNED, id="unsigned-payload"),
    pytest.param(*MULTIPART, id="multipart"),
]


def is_accepted(
    http: HttpRequest, timestamp: int, key: str, authorization: str, hosts: list[str] | None = None
) -> bool:
    proof = Tc3Proof(parse_authorization(authorization), http, timestamp)
    return proof.is_made_with(key, hosts or [http.head.headers["host"]])


@pytest.mark.parametrize(("http", "timestamp", "key", "authorization"), VECTORS)
def test_a_vector_is_accepted(
    http: HttpRequest, timestamp: int, key: str, authorization: str
) -> None:
    assert is_accepted(http, timestamp, key, authorization)


@pytest.mark.parametrize(("http", "timestamp", "key", "authorization"), VECTORS)
def test_a_vector_with_anything_changed_is_refused(
    http: HttpRequest, timestamp: int, key: str, authorization: str
) -> None:
    """Another key, second, method, media type, host, or another signature by one digit."""
    headers = dict(http.head.headers)
    other_type = replace(http, head=replace(http.head, headers={**headers, "content-type": "x/y"}))
    other_host = replace(http, head=replace(http.head, headers={**headers, "host": "example.com"}))
    other_method = replace(http, head=replace(http.head, method="PUT"))
    last = "0" if authorization[-1] != "0" else "1"
    assert not is_accepted(http, timestamp, key + "x", authorization)
    assert not is_accepted(http, timestamp + 1, key, authorization)
    assert not is_accepted(http, timestamp, key, authorization[:-1] + last)
    for changed in (other_type, other_host, other_method):
        assert not is_accepted(changed, timestamp, key, authorization)


@pytest.mark.parametrize(
    ("vector", "body_is_signed"),
    [
        pytest.param(PUBLISHED, True, id="published"),
        pytest.param(JSON, True, id="json"),
        pytest.param(MULTIPART, True, id="multipart"),
        pytest.param(GET, False, id="get"),
        pytest.param(UNSIGNED, False, id="unsigned-payload"),
    ],
)
def test_the_body_is_signed_unless_the_client_says_otherwise(
    vector: tuple[HttpRequest, int, str, str], body_is_signed: bool
) -> None:
    http, timestamp, key, authorization = vector
    altered = replace(http, body=http.body + b" ")
    assert is_accepted(altered, timestamp, key, authorization) is not body_is_signed


def test_only_the_raw_query_counts() -> None:
    """`%2B` and `+` mean different things, and the order of fields is the client's."""
    http, timestamp, key, authorization = GET
    for query in (QUERY.replace(b"%2B", b"+"), b"&".join(reversed(QUERY.split(b"&")))):
        altered = replace(http, head=replace(http.head, query=query))
        assert not is_accepted(altered, timestamp, key, authorization)


@pytest.mark.parametrize(
    "service", ["trtc", "localhost", "127", "localhost:8080"], ids=lambda name: name
)
def test_the_service_is_what_the_client_takes_for_it(service: str) -> None:
    """Clients derive it from the endpoint; the signature must fit the one in the credential."""
    http, timestamp, key, authorization = JSON
    other = authorization.replace("/trtc/", f"/{service}/")
    assert parse_authorization(other).service == service
    assert is_accepted(http, timestamp, key, other) is (service == "trtc")


def test_any_of_the_possible_hosts_may_have_been_signed() -> None:
    http, timestamp, key, authorization = JSON
    sent_as = replace(http, head=replace(http.head, headers={**http.head.headers, "host": "x:8"}))
    assert not is_accepted(sent_as, timestamp, key, authorization, ["x:8", "x"])
    assert is_accepted(sent_as, timestamp, key, authorization, ["x:8", "x", HOST])


@pytest.mark.parametrize("lower", [True, False], ids=["documented", "verbatim"])
def test_header_values_are_signed_lower_cased_or_verbatim(lower: bool) -> None:
    """The documentation says the one, the clients do the other; a boundary may have capitals."""
    boundary = BOUNDARY.upper()
    content_type = f"multipart/form-data; boundary={boundary}"
    http = request("POST", content_type, body=MULTIPART_BODY.replace(b"abcdef", b"ABCDEF"))
    signed_type = content_type.lower() if lower else content_type
    digest = hashlib.sha256(
        f"POST\n/\n\ncontent-type:{signed_type}\nhost:{HOST}\n\ncontent-type;host\n"
        f"{hashlib.sha256(http.body).hexdigest()}".encode()
    ).hexdigest()
    text = f"TC3-HMAC-SHA256\n1700000000\n2023-11-14/trtc/tc3_request\n{digest}"
    # The third key of the recipe for this day, service and secret key, from the vectors.
    key = bytes.fromhex("b6c14988e555132f69767a56b7932702f9d56eb586f6893f66f5a7c01907c5ad")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    assert is_accepted(http, 1700000000, EXAMPLE_KEY, header(signature))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param("A=b,{signature},SignedHeaders=host;Content-Type,{credential}", id="compact"),
        pytest.param(
            " {credential} ,  SignedHeaders=content-type;host , {signature}", id="many-spaces"
        ),
    ],
)
def test_the_header_is_read_tolerantly(fields: str) -> None:
    """Fields in any order, with any spaces, unknown ones among them."""
    signature = "0a" * 32
    text = fields.format(
        signature=f"Signature={signature}",
        credential=f"Credential={EXAMPLE_ID}/2023-11-14/trtc/tc3_request",
    )
    parsed = parse_authorization(f"TC3-HMAC-SHA256 {text}")
    assert parsed.secret_id == EXAMPLE_ID
    assert parsed.date == "2023-11-14"
    assert parsed.signed_headers == ("content-type", "host")
    assert parsed.signature == signature


GOOD = header("0" * 64)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("SKIP", id="skip"),
        pytest.param("Bearer x", id="bearer"),
        pytest.param("TC3-HMAC-SHA256", id="nothing-more"),
        pytest.param(GOOD.replace("TC3-HMAC-SHA256", "TC3-HMAC-SHA1"), id="other-algorithm"),
        pytest.param(GOOD.replace("Credential", "credentials"), id="no-credential"),
        pytest.param(GOOD.replace("SignedHeaders", "Headers"), id="no-signed-headers"),
        pytest.param(GOOD.replace("Signature=", "Sig="), id="no-signature"),
        pytest.param(GOOD.replace("tc3_request", "tc4_request"), id="wrong-terminator"),
        pytest.param(GOOD.replace("/trtc", ""), id="scope-too-short"),
        pytest.param(GOOD.replace("/2023-11-14", "/"), id="no-date"),
        pytest.param(GOOD[:-1], id="63-digits"),
        pytest.param(GOOD + "0", id="65-digits"),
        pytest.param(GOOD[:-1] + "g", id="not-hexadecimal"),
        pytest.param(GOOD.replace("content-type;host", "host"), id="content-type-not-signed"),
        pytest.param(GOOD.replace("content-type;host", "content-type"), id="host-not-signed"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as refusal:
        parse_authorization(text)
    assert refusal.value.code is Code.AUTH_INVALID_AUTHORIZATION
