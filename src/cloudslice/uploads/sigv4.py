"""AWS Signature Version 4 for S3, in headers, of requests whose body is known whole.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

Ours and no library's: see docs/decisions/storage.md.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime

_ALGORITHM = "AWS4-HMAC-SHA256"


class Signer:
    """Signs requests with one key pair for one region."""

    def __init__(self, access_key: str, secret_key: str, region: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._region = region
        self._date = ""
        self._key = b""

    def sign(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        content_sha256: str,
        now: datetime,
    ) -> dict[str, str]:
        """The headers with those of the signature, to be sent as they are.

        Args:
            path: encoded, as it is sent. There is no query.
            headers: those to be signed, ``host`` among them; lower-case names.
            content_sha256: of the body, in hexadecimal digits.
            now: the time, in UTC.
        """
        timestamp = now.strftime("%Y%m%dT%H%M%SZ")
        date = timestamp[:8]
        signed = {**headers, "x-amz-content-sha256": content_sha256, "x-amz-date": timestamp}
        names = sorted(signed)
        lines = [f"{name}:{' '.join(signed[name].split())}" for name in names]
        names_text = ";".join(names)
        request = "\n".join([method, path, "", *lines, "", names_text, content_sha256])
        scope = f"{date}/{self._region}/s3/aws4_request"
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"{_ALGORITHM}\n{timestamp}\n{scope}\n{digest}"
        signature = _hmac(self._key_of(date), text).hex()
        signed["authorization"] = (
            f"{_ALGORITHM} Credential={self._access_key}/{scope}, "
            f"SignedHeaders={names_text}, Signature={signature}"
        )
        return signed

    def _key_of(self, date: str) -> bytes:
        """The signing key, which holds for a day."""
        if date != self._date:
            key = f"AWS4{self._secret_key}".encode()
            for part in (date, self._region, "s3", "aws4_request"):
                key = _hmac(key, part)
            self._date, self._key = date, key
        return self._key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), hashlib.sha256)
