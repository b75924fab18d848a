"""Frames that are encrypted as LiveKit's clients do it, written from what they put on the wire."""

import hashlib
import os
from functools import cache

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


@cache
def _cipher(passphrase: str) -> AESGCM:
    salt = b"LKFrameEncryptionKey"
    return AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, 100_000, 16))


def seal(
    passphrase: str, frame: bytes, readable: int, *, iv: bytes = b"", escapes: bool = False
) -> bytes:
    """A frame encrypted; so many bytes of it stay readable.

    Args:
        iv: 12 bytes; by default any.
        escapes: whether no start code may come to be behind them.
    """
    header, iv = frame[:readable], iv or os.urandom(12)
    rest = _cipher(passphrase).encrypt(iv, frame[readable:], header) + iv + bytes([len(iv), 0])
    return header + (escaped(rest) if escapes else rest)


def escaped(data: bytes) -> bytes:
    """With emulation prevention bytes (ITU-T H.264, 7.4.1)."""
    found = bytearray()
    for byte in data:
        if byte <= 3 and found.endswith(b"\0\0"):
            found.append(3)
        found.append(byte)
    return bytes(found)
