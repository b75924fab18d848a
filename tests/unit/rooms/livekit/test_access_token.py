"""LiveKit's tokens are made as it wants them, and only its own are believed."""

import base64
import json

import pytest

from cloudslice.rooms.livekit.access_token import (
    TokenError,
    make_access_token,
    verify_access_token,
)

NOW = 1_700_000_000.0
SECRET = "secretsecretsecretsecretsecretse"


def make(**more: object) -> str:
    return make_access_token("key", SECRET, {"a": True}, now_s=NOW, lifetime_s=60, **more)  # type: ignore[arg-type]


def verify(token: str, *, key: str = "key", secret: str = SECRET, at: float = NOW) -> object:
    return verify_access_token(token, key, secret, now_s=at)


def packed(values: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def test_what_was_made_is_believed() -> None:
    claims = verify(make(identity="robot", name="Robot"))
    assert claims == {
        "iss": "key",
        "nbf": NOW - 60,
        "exp": NOW + 60,
        "sub": "robot",
        "video": {"a": True},
        "name": "Robot",
    }


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("", "cannot be decoded"),
        ("a.b.c", "cannot be decoded"),
        ("ü.ü.ü", "cannot be decoded"),
        ("x" * 20_000, "too long"),
        (f"{packed([])}.{packed({})}.", "cannot be decoded"),
        (f"{packed({'alg': 'none'})}.{packed({'iss': 'key'})}.", "not signed with HS256"),
        (make()[:-2] + "AA", "signature does not fit"),
        (make().replace(".", ".e30", 1), "signature does not fit"),
        (make(exp=None), "its claim exp is no time"),
        (make(exp=True), "its claim exp is no time"),
        (make(nbf=NOW + 3600), "not valid yet"),
    ],
)
def test_what_is_no_token_of_ours(token: str, expected: str) -> None:
    with pytest.raises(TokenError, match=expected):
        verify(token)


def test_another_key_and_another_secret() -> None:
    with pytest.raises(TokenError, match="another API key"):
        verify(make(), key="other")
    with pytest.raises(TokenError, match="signature does not fit"):
        verify(make(), secret="other")


def test_it_expires() -> None:
    """A minute late, as clocks differ."""
    assert verify(make(), at=NOW + 119)
    with pytest.raises(TokenError, match="has expired"):
        verify(make(), at=NOW + 120)
