"""Whatever has become of the files of a spool: it starts, offers what is whole, deletes nothing."""

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudslice.slices import DamagedSliceError, SliceKind
from cloudslice.spool.slice_format import read_head
from helpers.spool_site import AUDIO, PICTURE, START_MS, TASK, SpoolSite

OTHER_TASK = replace(TASK, task_id="other")
AUDIO_BYTES, PICTURE_BYTES = bytes(range(256)), bytes(range(255, -1, -1))
"""As real ones they are no text from their first bytes on."""
OUR_FILES = {"task", "names"}

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool with two tasks, each with slices that wait and ones that grew when it was killed."""
    directory = tmp_path_factory.mktemp("template") / "spool"

    async def make() -> None:
        site = SpoolSite(directory)
        async with site.open(TASK, OTHER_TASK) as spool:
            for task in (TASK, OTHER_TASK):
                audio, picture = (replace(each, task_id=task.task_id) for each in (AUDIO, PICTURE))
                for _ in range(2):
                    spool.put(picture, START_MS, PICTURE_BYTES, {})
                    growing = spool.grow(audio, START_MS)
                    growing.append(AUDIO_BYTES)
                    growing.finish(START_MS, 9, {})
                    spool.grow(audio, START_MS).append(AUDIO_BYTES)

    asyncio.run(make())
    return directory


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Bytes changed, cut away, added, put in or left out; or the file gone."""
    kind = draw(st.sampled_from(["change", "cut", "add", "zero", "empty", "remove", "replace"]))
    at = draw(st.floats(0, 1))
    data = draw(st.binary(min_size=1, max_size=9))

    def damage(path: Path) -> None:
        old = path.read_bytes()
        place = int(at * len(old))
        match kind:
            case "change":
                path.write_bytes(old[:place] + data + old[place + len(data) :])
            case "cut":
                path.write_bytes(old[:place])
            case "add":
                path.write_bytes(old[:place] + data + old[place:])
            case "zero":
                path.write_bytes(old[:place] + bytes(len(old) - place))
            case "empty":
                path.write_bytes(b"")
            case "remove":
                path.unlink()
            case "replace":
                path.write_bytes(data)

    return damage


async def check(directory: Path, before: dict[Path, bytes], damaged: set[Path]) -> None:
    """A start after some files were damaged."""
    site = SpoolSite(directory)
    async with site.open() as spool:
        offered = {
            directory / task.task_id / f"{each.name}.slice": (task, each.name)
            for task, slices in spool.take_waiting().items()
            for each in slices
        }
        for path, (task, name) in offered.items():
            try:
                whole, content = spool.read(task.task_id, name)
            except DamagedSliceError:
                assert path in damaged
                continue
            is_repaired = whole.details == {"repaired": "true"}
            if not is_repaired:
                assert content in (AUDIO_BYTES, PICTURE_BYTES)
            assert (whole.origin.kind is SliceKind.AUDIO) or content == PICTURE_BYTES
            assert path in before or is_repaired
    for path in before:
        if path.parent / "task" in damaged:
            continue
        if path.suffix == ".slice" and path not in damaged:
            assert path in offered
        if path.suffix == ".part" and path not in damaged:
            assert path.with_suffix(".slice") in offered
    _check_nothing_is_deleted(site, before, offered.keys())


def _check_nothing_is_deleted(site: SpoolSite, before: dict[Path, bytes], offered: object) -> None:
    kept = list(site.quarantined.values())
    for path, data in before.items():
        if path.name in OUR_FILES or path.exists() or not data:
            continue
        assert data in kept or path.suffix == ".part", path
        if path.suffix == ".part" and data not in kept:
            whole = path.with_suffix(".slice")
            assert whole.exists() or _is_empty(data), path


def _is_empty(data: bytes) -> bool:
    """Whether no audio was in a file that grew."""
    if data.isascii() and data.replace(b"\0", b"").decode().isprintable():
        return True
    try:
        _, content_at = read_head(data)
    except DamagedSliceError:
        return False
    return len(data) == content_at


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.integers(0, 99), damages(), max_size=6))
def test_any_damage(
    template: Path, tmp_path_factory: pytest.TempPathFactory, damage: dict[int, Damage]
) -> None:
    """To slices, growing ones, tasks and names, in any combination."""
    directory = tmp_path_factory.mktemp("damage") / "spool"
    shutil.copytree(template, directory)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    damaged = set()
    for index, each in damage.items():
        path = files[index % len(files)]
        if path.exists():
            old = path.read_bytes()
            each(path)
            if not path.exists() or path.read_bytes() != old:
                damaged.add(path)
    before = {path: path.read_bytes() for path in files if path.exists()}
    asyncio.run(check(directory, before, damaged))
