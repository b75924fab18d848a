"""Sign API calls as the official clients do, written from the recipe and not from our verifier."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

VERSION = "2019-07-22"
REGION = "ap-singapore"


@dataclass(frozen=True)
class KeyPair:
    """What a caller signs with."""

    secret_id: str
    secret_key: str


def tc3_signature(
    secret_key: str,
    *,
    method: str,
    query: str,
    headers: Mapping[str, str],
    payload: bytes,
    timestamp: int,
    service: str,
) -> str:
    """The signature over `headers` (verbatim, in this order) and the rest."""
    date = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    canonical = "\n".join(
        [
            method,
            "/",
            query,
            *(f"{name}:{value}" for name, value in headers.items()),
            "",
            ";".join(headers),
            hashlib.sha256(payload).hexdigest(),
        ]
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"TC3-HMAC-SHA256\n{timestamp}\n{date}/{service}/tc3_request\n{digest}"
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()


def tc3_headers(
    keys: KeyPair,
    action: str,
    *,
    timestamp: int,
    host: str,
    body: bytes = b"",
    query: str = "",
    method: str = "POST",
    content_type: str = "application/json",
    service: str = "trtc",
    signed_host: str | None = None,
    unsigned_payload: bool = False,
) -> dict[str, str]:
    """All headers of a signed call; a test changes some of them to break it."""
    payload = b"" if method == "GET" else body
    signature = tc3_signature(
        keys.secret_key,
        method=method,
        query=query if method == "GET" else "",
        headers={"content-type": content_type, "host": signed_host or host},
        payload=b"UNSIGNED-PAYLOAD" if unsigned_payload else payload,
        timestamp=timestamp,
        service=service,
    )
    date = datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")
    headers = {
        "Host": host,
        "Content-Type": content_type,
        "X-TC-Action": action,
        "X-TC-Version": VERSION,
        "X-TC-Timestamp": str(timestamp),
        "X-TC-Region": REGION,
        "Authorization": (
            f"TC3-HMAC-SHA256 Credential={keys.secret_id}/{date}/{service}/tc3_request, "
            f"SignedHeaders=content-type;host, Signature={signature}"
        ),
    }
    if unsigned_payload:
        headers["X-TC-Content-SHA256"] = "UNSIGNED-PAYLOAD"
    return headers


def v1_fields(
    keys: KeyPair,
    action: str,
    parameters: Mapping[str, str],
    *,
    timestamp: int,
    host: str,
    method: str = "GET",
    algorithm: str = "HmacSHA256",
    **changes: str | None,
) -> dict[str, str]:
    """All fields of a call signed the older way; `changes` are signed too, None leaves one out."""
    fields: dict[str, str | None] = {
        "Action": action,
        "Version": VERSION,
        "Timestamp": str(timestamp),
        "Region": REGION,
        "Nonce": "11886",
        "SecretId": keys.secret_id,
        "SignatureMethod": algorithm,
        **parameters,
        **changes,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return given | {"Signature": v1_signature(keys.secret_key, given, host=host, method=method)}


def v1_signature(secret_key: str, fields: Mapping[str, str], *, host: str, method: str) -> str:
    """The older signature over `fields`, whose SignatureMethod names the hash."""
    joined = "&".join(f"{name}={value}" for name, value in sorted(fields.items()))
    sha256 = fields.get("SignatureMethod") == "HmacSHA256"
    digest = hashlib.sha256 if sha256 else hashlib.sha1
    text = f"{method}{host}/?{joined}"
    return base64.b64encode(hmac.new(secret_key.encode(), text.encode(), digest).digest()).decode()


def flatten(value: Any, path: str = "") -> dict[str, str]:
    """The dot form of nested parameters, as clients make it: empty lists and objects disappear."""
    if isinstance(value, dict):
        members = [(f"{path}.{name}" if path else name, item) for name, item in value.items()]
    elif isinstance(value, list):
        members = [(f"{path}.{index}", item) for index, item in enumerate(value)]
    else:
        return {} if value is None else {path: str(value)}
    flat: dict[str, str] = {}
    for name, item in members:
        flat |= flatten(item, name)
    return flat


def multipart(parameters: Mapping[str, Any], boundary: str) -> bytes:
    """The body that the Python client makes: objects and lists are JSON text."""
    body = b""
    for name, value in parameters.items():
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n'.encode()
        if isinstance(value, dict | list):
            body += b"Content-Type: application/json\r\n"
            value = json.dumps(value)
        body += f"\r\n{value}\r\n".encode()
    return body + f"--{boundary}--\r\n".encode()
