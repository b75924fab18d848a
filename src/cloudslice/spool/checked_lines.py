"""A line of JSON with its CRC-32 behind it: the form of all that the spool says in words."""

import json
import zlib
from typing import Any


def to_line(values: object) -> bytes:
    """The line; it ends with a newline and holds no other."""
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":")).encode()
    return b"%b %08x\n" % (text, zlib.crc32(text))


def from_line(line: bytes) -> Any:
    """What a line says.

    Raises:
        ValueError: it is not what was written.
    """
    text, _, check = line.rpartition(b" ")
    if check != b"%08x\n" % zlib.crc32(text):
        raise ValueError("its check sum is wrong")
    return json.loads(text.decode())
