"""UserSigs: those of the official generators are accepted, anything else is refused."""

import base64
import json
import time
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from TLSSigAPIv2 import TLSSigAPIv2

from cloudslice.identity.user_sig import Fault, IdentityError, make_user_sig, verify_user_sig

APP = 1400000000
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
USER = "slice_bot_150"
NOW = 1700000000
DAY = 86400

NODE_TOKEN = (
    "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwsU5mcmp8Un5JfGGpjAFxSnZiQUFmSlKVoYmBlAAkSnJzE1VsjI0"
    "RxVNrSjILEpVsrIwM4EJFWemK1kpFfn4amdUBiR5eAWnZId6lqeW*6VVZuu7OhtmuqaG5mv7*GYHO3u55fvmmNgq1QIA"
    "UQkzVQ__"
)
PYTHON_TOKEN = (
    "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkinMyk1Pjk-JL4g1N4UqKU7ITCwoyU4AKDE0MoAAql1pRkFmU"
    "CpSxMDOBC5Zk5oKEDM3RFBdnpoMsKfLx1c6oDEjy8ApOyQ71LE8t90urzNZ3dTbMdE0Nzdf28c0OdvZyy-fNMbFVqgUA"
    "2zc0tQ__"
)


def verify(token: str, *, user: str = USER, app: int = APP, now_s: float = NOW) -> bytes | None:
    return verify_user_sig(token, KEY, app, user, now_s=now_s)


def wrap(text: bytes) -> str:
    """What the generators do to their JSON: deflate, Base64, alphabet."""
    encoded = base64.b64encode(zlib.compress(text)).decode()
    return encoded.replace("+", "*").replace("/", "-").replace("=", "_")


def unwrap(token: str) -> dict[str, Any]:
    encoded = token.replace("*", "+").replace("-", "/").replace("_", "=")
    claims: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(encoded)))
    return claims


def wrap_json(value: object) -> str:
    return wrap(json.dumps(value).encode())


def altered(**claims: object) -> str:
    """The Node generator's token with some claims replaced."""
    return wrap_json(unwrap(NODE_TOKEN) | {f"TLS.{name}": value for name, value in claims.items()})


@pytest.mark.parametrize("token", [NODE_TOKEN, PYTHON_TOKEN], ids=["node", "python"])
def test_a_token_of_an_official_generator_is_accepted(token: str) -> None:
    """Member order, spacing and compression differ between generators; none of it matters."""
    assert verify(token) is None


def test_our_token_signs_what_the_official_generators_sign() -> None:
    token = make_user_sig(KEY, APP, USER, now_s=NOW + 0.9, lifetime_s=DAY)
    assert unwrap(token) == unwrap(NODE_TOKEN)
    assert unwrap(token)["TLS.sig"] == "rLM+hyPbHJSdkUIwewNfyk/EC1iEeUo+LMkSCJFoMl4="
    assert token.startswith("eJ")


@given(st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True), st.integers(1, 2**32 - 1))
def test_the_official_generator_and_we_agree(user: str, app: int) -> None:
    """Whatever the user and the app: each side's token is the other's token."""
    now = time.time()
    theirs = TLSSigAPIv2(app, KEY).gen_sig(user, DAY)
    assert verify_user_sig(theirs, KEY, app, user, now_s=now) is None
    made_s = unwrap(theirs)["TLS.time"]
    assert unwrap(make_user_sig(KEY, app, user, now_s=made_s, lifetime_s=DAY)) == unwrap(theirs)


def test_a_token_with_a_userbuf_is_accepted_and_gives_it() -> None:
    token = TLSSigAPIv2(APP, KEY).gen_sig_with_userbuf(USER, DAY, b"\x00abc\xff")
    assert verify(token, now_s=time.time()) == b"\x00abc\xff"


@pytest.mark.parametrize("padding", ["", "_", "__"])
def test_missing_padding_is_accepted(padding: str) -> None:
    assert verify(NODE_TOKEN.rstrip("_") + padding) is None


@pytest.mark.parametrize(
    ("now_s", "fault"),
    [
        pytest.param(NOW - 300, None, id="from-5-minutes-in-the-future"),
        pytest.param(NOW - 300.1, Fault.NOT_YET_VALID, id="from-further-in-the-future"),
        pytest.param(NOW + DAY - 0.1, None, id="just-before-its-expiry"),
        pytest.param(NOW + DAY, Fault.EXPIRED, id="at-its-expiry"),
    ],
)
def test_a_token_is_valid_for_its_time_only(now_s: float, fault: Fault | None) -> None:
    if fault is None:
        verify(NODE_TOKEN, now_s=now_s)
    else:
        with pytest.raises(IdentityError) as refusal:
            verify(NODE_TOKEN, now_s=now_s)
        assert refusal.value.fault is fault


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        pytest.param("", Fault.MALFORMED, id="empty"),
        pytest.param("ä" * 20, Fault.MALFORMED, id="not-ascii"),
        pytest.param("eJyr", Fault.MALFORMED, id="cut-off"),
        pytest.param("A" * 20_000, Fault.MALFORMED, id="too-long"),
        pytest.param(NODE_TOKEN[:-10], Fault.MALFORMED, id="tail-missing"),
        pytest.param(wrap(b"not JSON"), Fault.MALFORMED, id="not-json"),
        pytest.param(wrap(b"[" * 8000), Fault.MALFORMED, id="nested-deeply"),
        pytest.param(wrap(b'"' + b"x" * 100_000 + b'"'), Fault.MALFORMED, id="inflates-too-far"),
        pytest.param(wrap_json([1]), Fault.MALFORMED, id="not-an-object"),
        pytest.param(wrap_json({}), Fault.OTHER_VERSION, id="no-claims"),
        pytest.param(wrap_json({"TLS.ver": "2.0"}), Fault.MALFORMED, id="only-a-version"),
        pytest.param(wrap_json({"TLS.ver": "1.0"}), Fault.OTHER_VERSION, id="version-1"),
        pytest.param(
            altered(sdkappid="1400000000"),
            Fault.MALFORMED,
            id="app-as-text",
        ),
        pytest.param(altered(sdkappid=True), Fault.MALFORMED, id="app-true"),
        pytest.param(altered(expire=-1), Fault.MALFORMED, id="negative-time"),
        pytest.param(
            wrap(b'{"TLS.ver":"2.0","TLS.sdkappid":1,"TLS.time":' + b"9" * 5000 + b"}"),
            Fault.MALFORMED,
            id="enormous-time",
        ),
        pytest.param(altered(sig=5), Fault.MALFORMED, id="signature-a-number"),
        pytest.param(altered(userbuf=5), Fault.MALFORMED, id="userbuf-number"),
        pytest.param(altered(userbuf="?"), Fault.MALFORMED, id="userbuf-bad"),
        pytest.param(
            altered(userbuf="YWJj"),
            Fault.WRONG_SIGNATURE,
            id="userbuf-added",
        ),
        pytest.param(
            altered(expire=DAY + 1),
            Fault.WRONG_SIGNATURE,
            id="life-prolonged",
        ),
        pytest.param(
            altered(time=NOW + 1),
            Fault.WRONG_SIGNATURE,
            id="made-later",
        ),
        pytest.param(
            altered(sig="é"),
            Fault.WRONG_SIGNATURE,
            id="signature-not-ascii",
        ),
    ],
)
def test_a_token_that_proves_nothing_is_refused(token: str, fault: Fault) -> None:
    """The refusal says why."""
    with pytest.raises(IdentityError) as refusal:
        verify(token)
    assert refusal.value.fault is fault
    assert str(refusal.value) == fault.value


def test_another_user_app_or_key_is_refused() -> None:
    for attempt, fault in (
        (lambda: verify(NODE_TOKEN, user="slice_bot_151"), Fault.OTHER_USER),
        (lambda: verify(NODE_TOKEN, app=APP + 1), Fault.OTHER_APP),
        (
            lambda: verify_user_sig(NODE_TOKEN, KEY[:-1] + "f", APP, USER, now_s=NOW),
            Fault.WRONG_SIGNATURE,
        ),
    ):
        with pytest.raises(IdentityError) as refusal:
            attempt()
        assert refusal.value.fault is fault


@given(st.text(max_size=300) | st.binary(max_size=300).map(wrap))
def test_garbage_is_refused_and_breaks_nothing(token: str) -> None:
    with pytest.raises(IdentityError):
        verify(token)


@pytest.mark.parametrize("user", ["", "a" * 33, "a b", "ü", "a\n"])
def test_no_token_is_made_for_an_impossible_user(user: str) -> None:
    with pytest.raises(ValueError, match="a user id is"):
        make_user_sig(KEY, APP, user, now_s=NOW, lifetime_s=DAY)
