"""UserSig 2.0: proof that the holder may act as a user of an app (docs/wire.md, 11.1).

A UserSig is JSON, deflated, in Base64 with an alphabet of its own: ``*``, ``-`` and ``_`` stand for
``+``, ``/`` and ``=``, which is not the base64url of RFC 4648. A PrivateMapKey is the same envelope
around a buffer.
"""

import base64
import binascii
import hashlib
import hmac
import json
import zlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

from pydantic_core import from_json

from cloudslice.ids import is_user_id

_TO_WIRE = str.maketrans("+/=", "*-_")
_FROM_WIRE = str.maketrans("*-_", "+/=")
_MAX_TOKEN_CHARS = 16 * 1024
_MAX_JSON_BYTES = 8 * 1024
_MAX_CLOCK_SKEW_S = 300


class Fault(Enum):
    """Why a UserSig or PrivateMapKey is refused; the value is fit to be shown to its sender."""

    MALFORMED = "it cannot be decoded"
    OTHER_VERSION = "its version is not 2.0"
    OTHER_USER = "it was made for another user"
    OTHER_APP = "it was made for another SdkAppId"
    WRONG_SIGNATURE = "its signature does not fit: was it made with this app's secret key?"
    EXPIRED = "it has expired"
    NOT_YET_VALID = "it was made more than 5 minutes in the future"
    NO_TICKET = "it carries no room permissions"
    OTHER_ROOM = "it was made for another room"
    NOT_PERMITTED = "it does not grant the permissions that are needed here"


class IdentityError(Exception):
    """A UserSig or PrivateMapKey proves nothing; `fault` and the text say why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.value)
        self.fault = fault


def make_user_sig(
    secret_key: str,
    sdk_app_id: int,
    user_id: str,
    *,
    now_s: float,
    lifetime_s: int,
    userbuf: bytes | None = None,
) -> str:
    """A UserSig for `user_id`, valid from `now_s` (Unix seconds) for `lifetime_s` seconds.

    Args:
        secret_key: the app's secret key, used as the text it is.
        userbuf: what the token carries besides; a PrivateMapKey's ticket.

    Raises:
        ValueError: `user_id` is not 1 to 32 letters, digits, ``_`` or ``-``.
    """
    if not is_user_id(user_id):
        raise ValueError(f"a user id is 1 to 32 letters, digits, _ or -; this is {user_id!r}")
    claims: dict[str, Any] = {
        "TLS.ver": "2.0",
        "TLS.identifier": user_id,
        "TLS.sdkappid": sdk_app_id,
        "TLS.time": int(now_s),
        "TLS.expire": lifetime_s,
    }
    if userbuf is not None:
        claims["TLS.userbuf"] = base64.b64encode(userbuf).decode()
    claims["TLS.sig"] = _sign(secret_key, claims)
    packed = zlib.compress(json.dumps(claims, separators=(",", ":")).encode())
    return base64.b64encode(packed).decode().translate(_TO_WIRE)


def verify_user_sig(
    token: str, secret_key: str, sdk_app_id: int, user_id: str, *, now_s: float
) -> bytes | None:
    """Check that `token` lets its holder act as `user_id` at `now_s` (Unix seconds).

    Returns:
        The userbuf that the token carries, if any.

    Raises:
        IdentityError: it does not.
    """
    claims = _decode(token)
    if claims.get("TLS.ver") != "2.0":
        raise IdentityError(Fault.OTHER_VERSION)
    userbuf = _checked_userbuf(claims)
    if claims["TLS.identifier"] != user_id:
        raise IdentityError(Fault.OTHER_USER)
    if claims["TLS.sdkappid"] != sdk_app_id:
        raise IdentityError(Fault.OTHER_APP)
    if not hmac.compare_digest(_sign(secret_key, claims).encode(), claims["TLS.sig"].encode()):
        raise IdentityError(Fault.WRONG_SIGNATURE)
    if claims["TLS.time"] > now_s + _MAX_CLOCK_SKEW_S:
        raise IdentityError(Fault.NOT_YET_VALID)
    if now_s >= claims["TLS.time"] + claims["TLS.expire"]:
        raise IdentityError(Fault.EXPIRED)
    return userbuf


def _sign(secret_key: str, claims: Mapping[str, Any]) -> str:
    content = "".join(
        f"{name}:{claims[name]}\n"
        for name in ("TLS.identifier", "TLS.sdkappid", "TLS.time", "TLS.expire", "TLS.userbuf")
        if name in claims
    )
    digest = hmac.digest(secret_key.encode(), content.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def _decode(token: str) -> dict[str, Any]:
    if len(token) > _MAX_TOKEN_CHARS:
        raise IdentityError(Fault.MALFORMED)
    try:
        claims = from_json(_inflate(_decode_base64(token.translate(_FROM_WIRE))))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise IdentityError(Fault.MALFORMED) from error
    if not isinstance(claims, dict):
        raise IdentityError(Fault.MALFORMED)
    return claims


def _decode_base64(text: str) -> bytes:
    unpadded = text.rstrip("=")
    return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)


def _inflate(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    text = inflater.decompress(packed, _MAX_JSON_BYTES)
    if not inflater.eof or inflater.unused_data:
        raise ValueError("cut off, too long, or followed by something else")
    return text


def _checked_userbuf(claims: Mapping[str, Any]) -> bytes | None:
    """The userbuf, once every claim is of the type and size that the signed text allows."""
    for name in ("TLS.sdkappid", "TLS.time", "TLS.expire"):
        value = claims.get(name)
        if type(value) is not int or not 0 <= value < 2**63:
            raise IdentityError(Fault.MALFORMED)
    for name in ("TLS.identifier", "TLS.sig"):
        if not isinstance(claims.get(name), str):
            raise IdentityError(Fault.MALFORMED)
    if "TLS.userbuf" not in claims:
        return None
    try:
        return base64.b64decode(claims["TLS.userbuf"], validate=True)
    except (TypeError, ValueError) as error:
        raise IdentityError(Fault.MALFORMED) from error
