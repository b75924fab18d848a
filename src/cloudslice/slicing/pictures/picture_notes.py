"""Puts what is told of a picture into its file: a text of PNG, or a comment of JPEG."""

import zlib

from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.slice_notes import TITLE

_PNG_HEADER_BYTES = 33
"""Its signature and the chunk IHDR, which comes first (PNG, 5.6)."""
_MOST = 1000
"""Characters; a comment of JPEG may have 65,533 bytes."""


def with_note(data: bytes, image_format: ImageFormat, note: str) -> bytes:
    """The picture's file with a line of ASCII in it.

    Args:
        data: as `encode_picture` makes it.
        note: one line; it is cut off after 1000 characters.
    """
    text = note[:_MOST].encode("ascii", "replace")
    if image_format is ImageFormat.PNG:
        at, piece = _PNG_HEADER_BYTES, _png_text(text)
    else:
        at, piece = _after_jfif(data), _jpeg_comment(text)
    return b"".join((memoryview(data)[:at], piece, memoryview(data)[at:]))


def _png_text(text: bytes) -> bytes:
    """A chunk tEXt: a keyword and a text (PNG, 11.3.3.2)."""
    body = b"".join((b"tEXt", TITLE.encode(), b"\0", text))
    return b"".join(((len(body) - 4).to_bytes(4, "big"), body, zlib.crc32(body).to_bytes(4, "big")))


def _jpeg_comment(text: bytes) -> bytes:
    """A segment COM (ITU-T T.81, B.2.4.5). It has no keyword, so that the text begins with it."""
    body = b"%s %s" % (TITLE.encode(), text)
    return b"".join((b"\xff\xfe", (len(body) + 2).to_bytes(2, "big"), body))


def _after_jfif(data: bytes) -> int:
    """Where the first segment ends: JFIF's marker has to come right behind SOI."""
    return 4 + int.from_bytes(data[4:6], "big")
