"""Files are what is known of them, or are not uploaded."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cloudslice.uploads.objects import Content, DamagedContentError, read_content

DATA = b"content"
SHA256 = hashlib.sha256(DATA).hexdigest()


def test_the_content_comes_with_its_hashes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    content = read_content(path, len(DATA), SHA256)
    assert content == Content.of(DATA)
    assert content.sha256 == SHA256
    assert content.md5 == bytes.fromhex("9a0364b9e99bb480dd25e1f0284c8555")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.write_bytes(DATA + b"!"), id="longer"),
        pytest.param(lambda path: path.write_bytes(DATA[:-1]), id="shorter"),
        pytest.param(lambda path: path.write_bytes(b"CONTENT"), id="other bytes"),
        pytest.param(Path.mkdir, id="a directory"),
        pytest.param(os.mkfifo, id="a FIFO that nobody writes to"),
    ],
)
def test_another_content_is_damage(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "file")
    with pytest.raises(DamagedContentError):
        read_content(tmp_path / "file", len(DATA), SHA256)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_content(tmp_path / "file", len(DATA), SHA256)
