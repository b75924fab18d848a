"""Signs API calls of our own (TC3-HMAC-SHA256, docs/wire.md, 6.1)."""

import hashlib
import hmac
from datetime import UTC, datetime

_ALGORITHM = "TC3-HMAC-SHA256"
_CONTENT_TYPE = "application/json"


def sign_call(
    action: str,
    body: bytes,
    *,
    version: str,
    region: str,
    host: str,
    service: str,
    secret_id: str,
    secret_key: str,
    now_s: int,
) -> dict[str, str]:
    """The headers of a POST.

    Args:
        action: the action.
        body: its parameters as JSON.
        version: the API's.
        region: one that is served.
        host: the endpoint, with its port if the URL has one.
        service: the name to sign for.
        secret_id: whose signature it is.
        secret_key: what it is made with.
        now_s: Unix seconds now.
    """
    date = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%d")
    scope = f"{date}/{service}/tc3_request"
    canonical = (
        f"POST\n/\n\ncontent-type:{_CONTENT_TYPE}\nhost:{host}\n\ncontent-type;host\n"
        + hashlib.sha256(body).hexdigest()
    )
    to_sign = f"{_ALGORITHM}\n{now_s}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = _hmac(key, part)
    signature = _hmac(key, to_sign).hex()
    return {
        "Authorization": f"{_ALGORITHM} Credential={secret_id}/{scope}, "
        f"SignedHeaders=content-type;host, Signature={signature}",
        "Content-Type": _CONTENT_TYPE,
        "Host": host,
        "X-TC-Action": action,
        "X-TC-Version": version,
        "X-TC-Timestamp": str(now_s),
        "X-TC-Region": region,
    }


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)
