"""What is uploaded comes with its hashes."""

import hashlib

from cloudslice.uploads.objects import Content


def test_a_content_has_its_hashes() -> None:
    content = Content.of(b"content")
    assert content.sha256 == hashlib.sha256(b"content").hexdigest()
    assert content.md5 == bytes.fromhex("9a0364b9e99bb480dd25e1f0284c8555")
    assert Content.of(b"content", content.sha256) == content
