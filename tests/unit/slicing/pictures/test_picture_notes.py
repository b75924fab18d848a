"""What stands in pictures' files, as FFmpeg's own program finds it."""

import json
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudslice.codecs.vp8 import VP8
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.picture_files import encode_picture
from cloudslice.slicing.pictures.picture_notes import with_note
from helpers.keyframes import decode_picture

NOTE = "start-ms=1700000001007 width=16 height=16 due-ms=1700000001000 codec=vp8"


def picture(image_format: ImageFormat) -> bytes:
    """A file as a picture process makes it."""
    keyframe = Keyframe(VP8.decoding, VP8.sample, 0.0, 0)
    return encode_picture(keyframe, image_format, ColorConverter()).data


def test_another_program_reads_the_text_of_a_png(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(with_note(picture(ImageFormat.PNG), ImageFormat.PNG, NOTE))
    command = ["ffprobe", "-v", "error", "-show_frames", "-of", "json", str(path)]
    probed = subprocess.run(command, capture_output=True, check=True)
    assert not probed.stderr
    [frame] = json.loads(probed.stdout)["frames"]
    assert frame["tags"]["cloudslice"] == NOTE


def segments(jpeg: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers of a JPEG up to its first scan, with what they hold (ITU-T T.81, B.1.1.4)."""
    at, marker = 2, 0
    while marker != 0xDA:
        prefix, marker, length = struct.unpack_from(">BBH", jpeg, at)
        assert prefix == 0xFF
        yield marker, jpeg[at + 4 : at + 2 + length]
        at += 2 + length


def test_a_jpeg_has_it_in_a_comment_behind_the_jfif_header() -> None:
    """FFmpeg keeps comments to itself."""
    first, second, *others = segments(with_note(picture(ImageFormat.JPG), ImageFormat.JPG, NOTE))
    assert (first[0], first[1][:5]) == (0xE0, b"JFIF\0")
    assert second == (0xFE, f"cloudslice {NOTE}".encode())
    assert 0xDA in dict(others)


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_the_picture_is_the_same_beside_it(image_format: ImageFormat) -> None:
    before = picture(image_format)
    after = with_note(before, image_format, NOTE)
    assert (decode_picture(after) == decode_picture(before)).all()
    assert len(after) - len(before) < len(NOTE) + 40


def test_a_long_note_is_cut_off() -> None:
    """A segment of JPEG has its length in 16 bits."""
    data = with_note(picture(ImageFormat.JPG), ImageFormat.JPG, "x" * 100_000)
    assert decode_picture(data).shape == (16, 16, 3)
