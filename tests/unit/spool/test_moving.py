"""Files come into a spool from elsewhere, also from another file system."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cloudslice.spool.moving import COPY, Moving

_OTHER_FILE_SYSTEM = Path("/dev/shm")  # noqa: S108 - tmpfs, on every Linux


@pytest.fixture(params=["same file system", "another one"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    around = tmp_path
    if request.param == "another one":
        around = _OTHER_FILE_SYSTEM
        if around.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("there is no other file system")
    with TemporaryDirectory(dir=around) as directory:
        path = Path(directory) / "1.slice"
        path.write_bytes(b"content")
        yield path


def test_a_file_is_at_its_new_place_alone(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "to" / "1.slice"
    target.parent.mkdir()
    with Moving() as moving:
        moving.move(source, target)
    assert target.read_bytes() == b"content"
    assert not source.exists()
    assert list(target.parent.iterdir()) == [target]


def test_a_file_that_cannot_be_moved_stays_where_it_is(source: Path, tmp_path: Path) -> None:
    moving = Moving()
    with pytest.raises(FileNotFoundError):
        moving.move(source, tmp_path / "nowhere" / "1.slice")
    assert source.read_bytes() == b"content"


def test_no_half_copy_is_left(source: Path, tmp_path: Path) -> None:
    """The target's name is taken by something else."""
    target = tmp_path / "1.slice"
    (target / "full").mkdir(parents=True)
    with pytest.raises(IsADirectoryError), Moving() as moving:
        moving.move(source, target)
    assert source.read_bytes() == b"content"
    assert not target.with_suffix(COPY).exists()
