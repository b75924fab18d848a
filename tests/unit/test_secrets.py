"""Encryption at rest, and the ways in which a key can be wrong."""

import base64
import sqlite3
from pathlib import Path

import pytest

from cloudslice.secrets import SCHEMA, SecretBox, SecretKeyError, check_key, load_key

KEY = bytes(range(32))


@pytest.fixture
def connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCHEMA.migrations[0])
    yield connection
    connection.close()


def test_a_text_comes_back() -> None:
    """Sealing twice gives different bytes that open to the same text; none shows it."""
    box = SecretBox(KEY)
    first, second = box.seal("gehëim", "context"), box.seal("gehëim", "context")
    assert first != second
    assert "gehëim".encode() not in first
    assert box.open(first, "context") == box.open(second, "context") == "gehëim"


@pytest.mark.parametrize(
    ("alter", "key", "context"),
    [
        pytest.param(lambda sealed: sealed, bytes(32), "context", id="another key"),
        pytest.param(lambda sealed: sealed, KEY, "other", id="another context"),
        pytest.param(lambda sealed: sealed[:-1] + b"\0", KEY, "context", id="altered"),
        pytest.param(lambda sealed: sealed[:5], KEY, "context", id="cut off"),
        pytest.param(lambda sealed: b"\x09" + sealed[1:], KEY, "context", id="unknown version"),
        pytest.param(lambda sealed: b"", KEY, "context", id="empty"),
    ],
)
def test_what_cannot_be_opened_is_one_error(alter, key: bytes, context: str) -> None:
    """Whatever is wrong, a SecretKeyError says so."""
    sealed = SecretBox(KEY).seal("text", "context")
    with pytest.raises(SecretKeyError):
        SecretBox(key).open(alter(sealed), context)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """The file is there for the next start, readable by its owner alone."""
    key = load_key(tmp_path / "data")
    file = tmp_path / "data" / "secret.key"
    assert len(key) == 32
    assert load_key(tmp_path / "data") == key
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_configured_key_is_used(tmp_path: Path) -> None:
    """Then no file is made."""
    assert load_key(tmp_path, base64.b64encode(KEY).decode()) == KEY
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "!!", "encryption_key: expected 32 bytes in Base64, as `openssl", id="not Base64"
        ),
        pytest.param("AAAA", "encryption_key: expected 32 .*, but it is 3 bytes$", id="short"),
    ],
)
def test_a_malformed_key_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SecretKeyError, match=message):
        load_key(tmp_path, text)


def test_a_damaged_key_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_bytes(b"\xff\xfe")
    with pytest.raises(SecretKeyError, match=r"secret\.key"):
        load_key(tmp_path)


def test_the_wrong_key_is_noticed_at_start(connection: sqlite3.Connection) -> None:
    """The key of the first start is the only one that is accepted later."""
    check_key(connection, SecretBox(KEY))
    check_key(connection, SecretBox(KEY))
    with pytest.raises(SecretKeyError, match="encrypted with another key: bring back"):
        check_key(connection, SecretBox(bytes(32)))
