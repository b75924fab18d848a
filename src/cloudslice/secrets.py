"""Encryption of what must not lie readable in the data directory: storage keys, user signatures.

The key comes from the settings, or is made once and kept beside the data. The latter does not
stop one who reads the whole directory; it does keep secrets out of copies of the database.
"""

import base64
import binascii
import os
import secrets
import sqlite3
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloudslice.migrations import Schema

_KEY_BYTES = 32
_NONCE_BYTES = 12
"""NIST SP 800-38D: random nonces of 96 bits serve for 2^32 messages under one key."""
_VERSION = b"\x01"
_EXPECTED = f"expected {_KEY_BYTES} bytes in Base64, as `openssl rand -base64 32` makes them"
_CHECK = "cloudslice"

SCHEMA = Schema("secrets", ("CREATE TABLE secret_check (token BLOB NOT NULL);",))


class SecretKeyError(Exception):
    """The key is malformed, cannot be read, or is not the one the data was encrypted with."""


class SecretBox:
    """Encrypts texts with AES-256-GCM; each is bound to the context it was sealed for."""

    def __init__(self, key: bytes) -> None:
        """Takes a key of 32 bytes."""
        self._cipher = AESGCM(key)

    def seal(self, text: str, context: str) -> bytes:
        """The text encrypted: version (1 byte), nonce (12), ciphertext, tag (16)."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, text.encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        """The text that was sealed for `context`.

        Raises:
            SecretKeyError: another key, another context, or altered bytes.
        """
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        if sealed[:1] != _VERSION:
            raise SecretKeyError("a stored secret has an unknown format")
        try:
            return self._cipher.decrypt(nonce, ciphertext, context.encode()).decode()
        except (InvalidTag, ValueError) as error:
            raise SecretKeyError(
                "a stored secret cannot be decrypted: it was encrypted with another key"
            ) from error


def load_key(data_dir: Path, configured: str = "") -> bytes:
    """The key: `configured` (Base64 of 32 bytes) or that of `data_dir`/secret.key, made if absent.

    Raises:
        SecretKeyError: the text is not such a key, or the file cannot be read or made.
    """
    if configured:
        return _decode(configured, "encryption_key")
    path = data_dir / "secret.key"
    try:
        if not path.exists():
            _create(path)
        return _decode(path.read_text(encoding="ascii"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SecretKeyError(f"{path}: {error}") from error


def check_key(connection: sqlite3.Connection, box: SecretBox) -> None:
    """Make sure that `box` has the key that this database's secrets were encrypted with.

    To be run at start, so that a wrong key is one clear error and not one per task.

    Raises:
        SecretKeyError: it has another one.
    """
    row = connection.execute("SELECT token FROM secret_check").fetchone()
    if row is None:
        connection.execute("INSERT INTO secret_check VALUES (?)", (box.seal(_CHECK, _CHECK),))
        return
    try:
        box.open(row[0], _CHECK)
    except SecretKeyError as error:
        raise SecretKeyError(
            "the data directory was encrypted with another key: bring back its secret.key, or set "
            "encryption_key to the key that was in use"
        ) from error


def _decode(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise SecretKeyError(f"{source}: {_EXPECTED}") from error
    if len(key) != _KEY_BYTES:
        raise SecretKeyError(f"{source}: {_EXPECTED}, but it is {len(key)} bytes")
    return key


def _create(path: Path) -> None:
    """Write a new key durably, whole or not at all, for the owner's eyes only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
