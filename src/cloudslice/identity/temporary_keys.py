"""Temporary keys: a credential's own, for some hours, with nothing to be stored for them.

The token says whose the keys are and until when, and is authenticated with the credential's secret
key, from which the temporary secret key is derived too. So a server that knows the credential can
verify both, and changing the credential's secret key revokes them. The texts that are put through
HMAC begin as no string does that the credential itself signs, which all begin with an HTTP method.
"""

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

_PREFIX = "TMP"
_RANDOM_BYTES = 16
_MAX_TOKEN_CHARS = 4096


class TokenFault(Enum):
    """Why temporary keys are not accepted; the value completes "the token ..."."""

    MISSING = "is missing"
    INVALID = "is not valid"
    OTHER_KEYS = "belongs to other keys"
    EXPIRED = "has expired"


class TokenError(Exception):
    """Temporary keys that are not accepted."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(f"the token {fault.value}")
        self.fault = fault


@dataclass(frozen=True, slots=True)
class TemporaryKeys:
    """What a caller signs with instead of the credential's own keys; sends `token` besides."""

    secret_id: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Whose keys a token is for."""

    credential_id: str
    secret_key: str = field(repr=False)
    """The temporary one, that calls are to be signed with."""


def is_temporary(secret_id: str) -> bool:
    """Whether a SecretId looks like one of temporary keys."""
    return secret_id.startswith(_PREFIX)


def make_temporary_keys(
    credential_id: str, credential_key: str, *, now_s: float, lifetime_s: int
) -> TemporaryKeys:
    """New keys that may do for `lifetime_s` seconds what the credential may."""
    secret_id = _PREFIX + secrets.token_hex(_RANDOM_BYTES)
    expires_at = int(now_s) + lifetime_s
    claims = json.dumps([credential_id, secret_id, expires_at]).encode()
    text = base64.urlsafe_b64encode(claims).decode()
    token = f"{text}.{_digest(credential_key, 'token', text)}"
    return TemporaryKeys(secret_id, _digest(credential_key, "key", text), token, expires_at)


def open_token(
    token: str, secret_id: str, find_key: Callable[[str], str | None], now_s: float
) -> TokenOwner:
    """Verify a token that was sent with `secret_id`.

    Args:
        find_key: the secret key of a credential, by its SecretId; None if there is none.

    Raises:
        TokenError: it is none of ours, is not for this SecretId, or has expired.
    """
    if not token:
        raise TokenError(TokenFault.MISSING)
    text, _, digest = token.partition(".")
    credential_id, owner_id, expires_at = _read_claims_untrusted(token, text)
    credential_key = find_key(credential_id)
    if credential_key is None:
        raise TokenError(TokenFault.INVALID)
    expected = _digest(credential_key, "token", text)
    if not hmac.compare_digest(expected.encode(), digest.encode()):
        raise TokenError(TokenFault.INVALID)
    if owner_id != secret_id:
        raise TokenError(TokenFault.OTHER_KEYS)
    if now_s >= expires_at:
        raise TokenError(TokenFault.EXPIRED)
    return TokenOwner(credential_id, _digest(credential_key, "key", text))


def _read_claims_untrusted(token: str, text: str) -> tuple[str, str, int]:
    try:
        if len(token) > _MAX_TOKEN_CHARS:
            raise TokenError(TokenFault.INVALID)
        match json.loads(base64.b64decode(text, altchars=b"-_", validate=True)):
            case [str(credential_id), str(secret_id), int(expires_at)]:
                return credential_id, secret_id, expires_at
            case _:
                raise TokenError(TokenFault.INVALID)
    except (binascii.Error, ValueError, RecursionError) as error:
        raise TokenError(TokenFault.INVALID) from error


def _digest(credential_key: str, purpose: str, text: str) -> str:
    message = f"cloudslice temporary {purpose}\n{text}".encode()
    return hmac.digest(credential_key.encode(), message, "sha256").hex()
