"""Errors of stores, and buckets that are directories."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cloudslice.delivery.storage import StoredObject, open_bucket
from cloudslice.delivery.storage_errors import StorageError, translate_error
from obstore.exceptions import GenericError

from cloudslice.config import EndpointSettings, StorageSettings
from cloudslice.slices import Bucket, Vendor

ANSWER = (
    "The operation lacked the necessary privileges to complete for path k: Error performing PUT "
    "http://h/b/k in 1ms - Server returned non-2xx status code: {status}: {body}\n\nDebug source:\n"
    "PermissionDenied {{ status: 999, <Code>Wrong</Code> }}"
)
XML = '<?xml version="1.0"?>\n<Error><Code>{}</Code><Message>{}</Message><Key>k</Key></Error>'
NO_ANSWER = (
    "Generic S3 error: Error performing PUT http://h/b/k in 1ms - HTTP error: error sending request"
    "\n\nDebug source:\nGeneric {{ inner: Http( HttpError {{ kind: {}, source: {} }} ) }}"
)


def answered(status: str, code: str, message: str) -> str:
    return ANSWER.format(status=status, body=XML.format(code, message))


@pytest.mark.parametrize(
    ("text", "status", "message", "refused"),
    [
        pytest.param(
            answered("403 Forbidden", "AccessDenied", "Access Denied."),
            403, "AccessDenied: Access Denied.", True, id="refused",
        ),
        pytest.param(
            answered("404 Not Found", "NoSuchBucket", "No &amp; such."),
            404, "NoSuchBucket: No & such.", True, id="no bucket, escaped text",
        ),
        pytest.param(
            answered("503 Slow Down", "SlowDown", "Reduce."),
            503, "SlowDown: Reduce.", False, id="busy: may pass",
        ),
        pytest.param(
            ANSWER.format(status="502 Bad Gateway", body="<html>oops</html>"),
            502, "Http502: The store gave no reason.", False, id="a proxy's answer",
        ),
        pytest.param(
            answered("403 Forbidden", "InvalidKey", "AK and SK are bad"),
            403, "InvalidKey: *** and *** are bad", True, id="credentials are hidden",
        ),
        pytest.param(
            NO_ANSWER.format("Connect", 'Os { code: 111, message: "Connection refused" }'),
            0, "ConnectionFailed: The store cannot be reached: Connection refused.", False,
            id="nobody listens",
        ),
        pytest.param(
            NO_ANSWER.format("Connect", 'Custom { error: "failed to lookup address" }'),
            0, "ConnectionFailed: The store cannot be reached: failed to lookup address.", False,
            id="no such host",
        ),
        pytest.param(
            NO_ANSWER.format("Connect", "?"),
            0, "ConnectionFailed: The store cannot be reached.", False, id="no reason known",
        ),
        pytest.param(
            NO_ANSWER.format("Timeout", "TimedOut"),
            0, "Timeout: The store did not answer in time.", False, id="timeout",
        ),
        pytest.param(
            "Could not parse path: illegal", 0, "InvalidRequest: Could not parse path: illegal",
            False, id="not even asked",
        ),
    ],
)  # fmt: skip
def test_errors_are_translated(text: str, status: int, message: str, refused: bool) -> None:
    """Status, code and text are the store's; its debug output is not looked at for them."""
    error = translate_error(GenericError(text), hide=("SK", "AK"))
    assert (error.status, str(error), error.refused) == (status, message, refused)


@pytest.fixture
def workers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(b"content")
    return path


def stored(key: str, source: Path) -> StoredObject:
    return StoredObject(key, source, "audio/ogg", {"sha256": "x"})


def directory_bucket(root: Path, name: str = "b-125") -> tuple[Bucket, StorageSettings]:
    settings = StorageSettings(endpoints=EndpointSettings(cos=f"file://{root}"))
    return Bucket(Vendor.COS, "r", name, "AK", "SK"), settings


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("p/-m9+a../u/audios/1_150_u_20231114221321.ogg", id="plain"),
        pytest.param("t/u/images/1_a ?#%&+~[]{}^|<>:;!$()=@,_u_2.png", id="odd characters"),
    ],
)
async def test_a_directory_takes_objects_by_their_raw_keys(
    tmp_path: Path, source: Path, workers: ThreadPoolExecutor, key: str
) -> None:
    """The key is the path, and nothing else is left there."""
    store = open_bucket(*directory_bucket(tmp_path / "buckets"), workers)
    for _ in range(2):
        await store.put(stored(key, source))
    files = [path for path in (tmp_path / "buckets").rglob("*") if path.is_file()]
    assert files == [tmp_path / "buckets" / "b-125" / key]
    assert files[0].read_bytes() == b"content"


@pytest.mark.parametrize(
    "key", [pytest.param("../x", id="out of it"), pytest.param("a/../../x", id="by a detour")]
)
async def test_a_directory_is_not_left(
    tmp_path: Path, source: Path, workers: ThreadPoolExecutor, key: str
) -> None:
    """A name that an anchor chose does not lead elsewhere."""
    store = open_bucket(*directory_bucket(tmp_path / "buckets"), workers)
    with pytest.raises(StorageError, match="cannot be the name of a file here"):
        await store.put(stored(key, source))
    assert not (tmp_path / "buckets").exists()


async def test_a_directory_that_cannot_be_written(
    tmp_path: Path, source: Path, workers: ThreadPoolExecutor
) -> None:
    """It is a storage error like any other, and may pass."""
    (tmp_path / "buckets").write_text("a file in the way")
    store = open_bucket(*directory_bucket(tmp_path / "buckets"), workers)
    with pytest.raises(StorageError) as caught:
        await store.put(stored("k", source))
    assert (caught.value.status, caught.value.refused) == (0, False)


async def test_a_missing_source_is_no_storage_error(
    tmp_path: Path, workers: ThreadPoolExecutor
) -> None:
    """The bucket is not to blame for what the spool has lost."""
    store = open_bucket(*directory_bucket(tmp_path / "buckets"), workers)
    with pytest.raises(FileNotFoundError):
        await store.put(stored("k", tmp_path / "absent"))


def test_an_impossible_bucket_is_refused(tmp_path: Path, workers: ThreadPoolExecutor) -> None:
    bucket, settings = directory_bucket(tmp_path, name="a/b")
    with pytest.raises(StorageError, match="InvalidBucket: 'a/b' cannot be the name of a bucket"):
        open_bucket(bucket, settings, workers)
