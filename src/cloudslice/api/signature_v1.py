"""Verify the older signatures, HmacSHA1 and HmacSHA256, of a query or form (docs/wire.md, 6.2)."""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class V1Proof:
    """A v1 signature with all that it covers: the method, GET or POST, and every field."""

    method: str
    fields: Mapping[str, str]

    @property
    def secret_id(self) -> str:
        """Whose signature it claims to be."""
        return self.fields["SecretId"]

    def is_made_with(self, secret_key: str, hosts: Sequence[str]) -> bool:
        """Whether the holder of `secret_key` signed the fields.

        Args:
            hosts: what the client may have taken for the endpoint's host when it signed.
        """
        is_sha256 = self.fields.get("SignatureMethod") == "HmacSHA256"
        digest = hashlib.sha256 if is_sha256 else hashlib.sha1
        # A client that forgets to encode the `+` of its Base64 sends a space.
        given = self.fields["Signature"].replace(" ", "+").encode()
        signed = "&".join(
            f"{name}={self.fields[name]}" for name in sorted(self.fields) if name != "Signature"
        )
        for host in hosts:
            text = f"{self.method}{host}/?{signed}"
            expected = hmac.digest(secret_key.encode(), text.encode(), digest)
            if hmac.compare_digest(base64.b64encode(expected), given):
                return True
        return False
