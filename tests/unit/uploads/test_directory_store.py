"""Buckets that are directories."""

import re
from pathlib import Path

import pytest

from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.slices import Bucket, Vendor
from cloudslice.uploads.storage_errors import StorageError
from helpers.stores import make_object, make_settings, opened


def directory_bucket(root: Path, name: str = "b-125") -> tuple[Bucket, StorageSettings]:
    return Bucket(Vendor.COS, "r", name, "AK", "SK"), make_settings(f"file://{root}")


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("p/-m9+a../u/audios/1_150_u_20231114221321.ogg", id="plain"),
        pytest.param("t/u/images/1_a ?#%&+~[]{}^|<>:;!$()=@,_u_2.png", id="odd characters"),
    ],
)
async def test_a_directory_takes_objects_by_their_raw_keys(tmp_path: Path, key: str) -> None:
    """The key is the path, and nothing else is left there."""
    async with opened(*directory_bucket(tmp_path / "buckets")) as store:
        for _ in range(2):
            await store.put(make_object(key))
    files = [path for path in (tmp_path / "buckets").rglob("*") if path.is_file()]
    assert files == [tmp_path / "buckets" / "b-125" / key]
    assert files[0].read_bytes() == b"content"


@pytest.mark.parametrize(
    "key", [pytest.param("../x", id="out of it"), pytest.param("a/../../x", id="by a detour")]
)
async def test_a_directory_is_not_left(tmp_path: Path, key: str) -> None:
    """A name that an anchor chose does not lead elsewhere."""
    async with opened(*directory_bucket(tmp_path / "buckets")) as store:
        with pytest.raises(StorageError, match="cannot be the name of a file here"):
            await store.put(make_object(key))
    assert not (tmp_path / "buckets").exists()


async def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """It is a storage error like any other, and may pass; it says which directory, and why."""
    (tmp_path / "buckets").write_text("a file in the way")
    async with opened(*directory_bucket(tmp_path / "buckets")) as store:
        with pytest.raises(StorageError) as caught:
            await store.put(make_object("k"))
    place = re.escape(str(tmp_path / "buckets" / "b-125"))
    assert re.search(rf"Error: {place} cannot be written: Not a directory\.", str(caught.value))
    assert (caught.value.status, caught.value.refused) == (0, False)


async def test_an_impossible_bucket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="InvalidBucket: 'a/b' cannot be the name of a bucket"):
        async with opened(*directory_bucket(tmp_path, name="a/b")):
            pass
