"""A process that turns key frames into pictures and can do nothing else.

FFmpeg decodes strangers' bytes in here. So there are no secrets, files or networks within reach:
the environment is empty, one socket is open, and a sandbox holds the rest (docs/decisions/
picture-processes.md). It ends when the other end of the socket is closed.
"""

import os
import sys
from contextlib import suppress

from cloudslice.codecs.catalog import CATALOG
from cloudslice.media.tracks import Colors, Decoding, Keyframe
from cloudslice.process import keep_freed_memory
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.messages import ANSWER, JOB, MAX_TEXT, Outcome
from cloudslice.slicing.pictures.picture import UndecodableKeyframeError
from cloudslice.slicing.pictures.picture_files import encode_picture
from cloudslice.slicing.pictures.sandbox import confine, set_apart

CHANNEL = 0
"""The descriptor of the socket."""


def main() -> None:
    """Be a worker of the process whose id is the first argument, until it has no more jobs."""
    set_apart(int(sys.argv[1]), b"cloudslice-pics")
    keep_freed_memory()
    converter = ColorConverter()
    warm_up(converter)
    missing = confine()
    _answer(0, Outcome.READY, missing.encode()[:MAX_TEXT])
    while _work(converter):
        pass
    os._exit(0)


def warm_up(converter: ColorConverter) -> None:
    """Make pictures of all kinds, so that all that libraries load late is loaded."""
    for codec in CATALOG.video:
        for image_format in ImageFormat:
            encode_picture(Keyframe(codec.decoding, codec.sample, 0.0, 90), image_format, converter)
            with suppress(UndecodableKeyframeError):
                half = codec.sample[: len(codec.sample) // 2]
                encode_picture(Keyframe(codec.decoding, half, 0.0, 0), image_format, converter)


def _work(converter: ColorConverter) -> bool:
    """Do one job; False if there are no more."""
    header = _read(JOB.size)
    if not header:
        return False
    number, decoder, matrix, is_full, is_told, has_layers, image_format, rotation, length = (
        JOB.unpack(header)
    )
    decoding = Decoding(_name(decoder), Colors(matrix, is_full), is_told, has_layers)
    keyframe = Keyframe(decoding, _read(length), 0.0, rotation)
    try:
        picture = encode_picture(keyframe, ImageFormat(_name(image_format)), converter)
    except UndecodableKeyframeError as error:
        _answer(number, Outcome.UNDECODABLE, str(error).encode()[:MAX_TEXT])
    except Exception as error:  # whatever the libraries throw costs one picture
        text = f"{type(error).__name__}: {error}"
        _answer(number, Outcome.FAILED, text.encode()[:MAX_TEXT])
    else:
        _answer(number, Outcome.PICTURE, picture.data, picture.width, picture.height)
    return True


def _name(padded: bytes) -> str:
    return padded.rstrip(b"\0").decode("ascii")


def _read(length: int) -> bytes:
    """The next `length` bytes; none if the other end is closed."""
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        count = os.readv(CHANNEL, [rest])
        if count == 0:
            return b""
        rest = rest[count:]
    return bytes(data)


def _answer(number: int, outcome: Outcome, data: bytes, width: int = 0, height: int = 0) -> None:
    header = ANSWER.pack(number, outcome, width, height, len(data))
    parts = [memoryview(header), memoryview(data)]
    while parts:
        count = os.writev(CHANNEL, parts)
        while parts and count >= len(parts[0]):
            count -= len(parts.pop(0))
        if parts:
            parts[0] = parts[0][count:]
