"""LiveKit's access tokens: JWTs signed with HS256 (RFC 7515, RFC 7519), made and checked.

LiveKit signs its webhooks with such tokens, too. No other algorithm is ever taken.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

_MAX_CHARS = 16 * 1024
_SKEW_S = 60
"""How far two clocks may differ."""


class TokenError(Exception):
    """A token proves nothing; the text says why, and is fit to be shown to its sender."""


def make_access_token(
    api_key: str,
    api_secret: str,
    grants: Mapping[str, object],
    *,
    now_s: float,
    lifetime_s: int,
    identity: str = "",
    **more: object,
) -> str:
    """A token that lets its holder do what `grants` say.

    Args:
        api_key: one of the server's keys.
        api_secret: the secret of that key.
        grants: what LiveKit calls the video grant, such as ``{"roomList": True}``.
        now_s: Unix seconds.
        lifetime_s: seconds until it expires.
        identity: as whom the holder enters a room.
        more: further claims, such as `name` or `sha256`.
    """
    claims = {
        "iss": api_key,
        "nbf": int(now_s) - _SKEW_S,
        "exp": int(now_s) + lifetime_s,
        **({"sub": identity} if identity else {}),
        "video": dict(grants),
        **more,
    }
    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT'})}.{_encode(claims)}"
    return f"{signed}.{_to_base64(_sign(signed, api_secret))}"


def verify_access_token(
    token: str, api_key: str, api_secret: str, *, now_s: float
) -> Mapping[str, Any]:
    """The claims of a token that this key has signed and that is valid at `now_s`, Unix seconds.

    Raises:
        TokenError: it is no such token.
    """
    signed, _, signature = token.rpartition(".")
    header, _, claims = signed.partition(".")
    if len(token) > _MAX_CHARS:
        raise TokenError("it is too long")
    if _decode(header).get("alg") != "HS256":
        raise TokenError("it is not signed with HS256")
    if not hmac.compare_digest(_sign(signed, api_secret), _from_base64(signature)):
        raise TokenError("its signature does not fit: was it made with this key's secret?")
    found = _decode(claims)
    if found.get("iss") != api_key:
        raise TokenError("it was made with another API key")
    if _seconds(found, "nbf", default=0) > now_s + _SKEW_S:
        raise TokenError("it is not valid yet: do the clocks differ?")
    if now_s >= _seconds(found, "exp") + _SKEW_S:
        raise TokenError("it has expired")
    return found


def body_hash(body: bytes) -> str:
    """The claim `sha256` of a webhook's token."""
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _sign(signed: str, secret: str) -> bytes:
    return hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)


def _seconds(claims: Mapping[str, Any], name: str, default: int | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"its claim {name} is no time")
    return value


def _encode(values: Mapping[str, object]) -> str:
    return _to_base64(json.dumps(values, separators=(",", ":")).encode())


def _decode(part: str) -> dict[str, Any]:
    try:
        values = from_json(_from_base64(part))
    except ValueError as error:
        raise TokenError("it cannot be decoded") from error
    if not isinstance(values, dict):
        raise TokenError("it cannot be decoded")
    return values


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenError("it cannot be decoded") from error
