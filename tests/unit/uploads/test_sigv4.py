"""Signatures, by the example of its documentation."""

import hashlib
from datetime import UTC, datetime

from cloudslice.uploads.sigv4 import Signer

KEY_PAIR = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
NOW = datetime(2013, 5, 24, tzinfo=UTC)


def test_the_documentations_put_object() -> None:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html"""
    headers = {
        "date": "Fri, 24 May 2013 00:00:00 GMT",
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    signed = Signer(*KEY_PAIR, "us-east-1").sign(
        "PUT",
        "/test%24file.text",
        headers,
        content_sha256=hashlib.sha256(b"Welcome to Amazon S3.").hexdigest(),
        now=NOW,
    )
    assert signed["x-amz-date"] == "20130524T000000Z"
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class, "
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


def sign(signer: Signer, now: datetime, value: str = "v") -> str:
    headers = {"host": "h", "x-amz-meta-a": value}
    return signer.sign("PUT", "/k", headers, content_sha256="", now=now)["authorization"]


def test_the_key_changes_with_the_day() -> None:
    """A signer that lives for days signs as a new one does."""
    signer = Signer(*KEY_PAIR, "us-east-1")
    days = [datetime(2013, 5, day, 23, 59, 59, tzinfo=UTC) for day in (24, 25, 24)]
    assert [sign(signer, day) for day in days] == [
        sign(Signer(*KEY_PAIR, "us-east-1"), day) for day in days
    ]


def test_blanks_count_once() -> None:
    """As servers read them."""
    signer = Signer(*KEY_PAIR, "us-east-1")
    assert sign(signer, NOW, " a   b ") == sign(signer, NOW, "a b")
