"""No object name is given twice, whatever clocks, kills and the disk do."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.ids import ObjectName
from cloudslice.slices import SliceOrigin
from cloudslice.spool import used_names
from cloudslice.spool.used_names import FILE, UsedNames
from helpers.faulty_disk import FaultyDisk
from helpers.spool_site import AUDIO, KEY, PICTURE, START_MS, TASK, SpoolSite, read_waiting

NOW = START_MS // 1000


@pytest.fixture
def names(tmp_path: Path) -> UsedNames:
    return UsedNames(tmp_path)


def take(names: UsedNames, *seconds: int, origin: SliceOrigin = AUDIO) -> list[int]:
    taken = [names.take(origin, second, "") for second in seconds]
    names.write()
    return taken


def test_a_used_name_gives_the_next_free_second(names: UsedNames) -> None:
    """An anchor that comes back within a second. Free seconds in between are found; the ones
    behind are not disturbed."""
    assert take(names, 21, 21, 24, 21, 21, 21) == [21, 22, 24, 23, 25, 26]


def test_names_are_apart_by_anchor_and_extension(names: UsedNames) -> None:
    """Only what would be the same key is in the way."""
    origins = [AUDIO, PICTURE, replace(PICTURE, extension="jpg"), replace(AUDIO, user_id="other")]
    assert [names.take(origin, 21, "") for origin in origins] == [21] * 4


@pytest.mark.parametrize("back_s", [1, 3, 3600])
def test_a_wall_clock_that_is_set_back(names: UsedNames, back_s: int) -> None:
    """Each second that was used is left out, until the clock is ahead again."""
    used = take(names, *range(NOW, NOW + 20, 5))
    again = take(names, *range(NOW - back_s, NOW - back_s + 4000, 5))
    assert len({*used, *again}) == len(used) + len(again)


def test_what_a_former_process_has_used(tmp_path: Path) -> None:
    """Also in between, and by other anchors; new seconds need no look at the file."""
    used = take(UsedNames(tmp_path), NOW, NOW + 1, NOW + 5)
    others = take(UsedNames(tmp_path), NOW, NOW, origin=PICTURE)
    names = UsedNames(tmp_path)
    assert take(names, NOW, NOW + 5, NOW - 1, NOW - 1) == [NOW + 2, NOW + 6, NOW - 1, NOW + 3]
    assert take(UsedNames(tmp_path), NOW, origin=PICTURE) == [NOW + 2]
    assert (used, others) == ([NOW, NOW + 1, NOW + 5], [NOW, NOW + 1])


@pytest.mark.parametrize("used", [[], [NOW - 5, NOW + 5]])
def test_a_name_that_came_from_elsewhere_is_used(tmp_path: Path, used: list[int]) -> None:
    names = UsedNames(tmp_path)
    take(names, *used)
    names.note(ObjectName.from_key(KEY.format(21)), "adopted")
    assert take(names, NOW, NOW, NOW - 1) == [NOW + 1, NOW + 2, NOW - 1]
    assert take(UsedNames(tmp_path), NOW) == [NOW + 3]


def test_a_name_counts_before_it_is_written(names: UsedNames) -> None:
    assert [names.take(AUDIO, second, "") for second in (9, 5, 9, 5)] == [9, 5, 10, 6]


def test_only_the_end_of_a_large_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far back as the second that is asked for."""
    monkeypatch.setattr(used_names, "_FIRST_READ", 200)
    take(UsedNames(tmp_path), *range(NOW, NOW + 1000))
    read: list[int] = []
    real = used_names.read_regular

    def note(path: Path, *, last: int) -> bytes:
        read.append(last)
        return real(path, last=last)

    monkeypatch.setattr(used_names, "read_regular", note)
    names = UsedNames(tmp_path)
    assert names.take(AUDIO, NOW + 999, "") == NOW + 1000
    assert max(read) == 200
    assert names.take(AUDIO, NOW + 800, "") == NOW + 1001
    assert max(read) < (tmp_path / FILE).stat().st_size
    assert names.take(AUDIO, NOW, "") == NOW + 1002


@pytest.mark.parametrize("cut", range(1, 50, 7))
def test_a_torn_last_line(tmp_path: Path, cut: int) -> None:
    """A power cut has taken its end: what is written behind it can be read."""
    take(UsedNames(tmp_path), NOW, NOW + 1)
    os.truncate(tmp_path / FILE, (tmp_path / FILE).stat().st_size - cut)
    again = take(UsedNames(tmp_path), NOW, NOW + 5)
    assert again == [NOW + 1, NOW + 5]
    assert take(UsedNames(tmp_path), NOW, NOW + 1, NOW + 5) == [NOW + 2, NOW + 3, NOW + 6]


def test_a_damaged_line_costs_its_name_alone(tmp_path: Path) -> None:
    take(UsedNames(tmp_path), NOW, NOW + 1, NOW + 2)
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data.replace(b"[%d," % (NOW + 1), b"[%d," % (NOW - 1)))
    assert take(UsedNames(tmp_path), NOW) == [NOW + 1]


@pytest.mark.parametrize("room", range(0, 45, 9))
def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """All is written once there is room."""
    names = UsedNames(tmp_path)
    names.take(AUDIO, NOW, "")
    disk = FaultyDisk(monkeypatch)
    disk.room = room
    with pytest.raises(OSError, match="No space") as caught:
        names.write()
    assert caught.value.errno == errno.ENOSPC
    assert names.take(AUDIO, NOW, "") == NOW + 1
    disk.room = 1000
    names.write()
    assert take(UsedNames(tmp_path), NOW) == [NOW + 2]


STEP = st.one_of(
    st.integers(-20, 20), st.just("restart"), st.just("power cut"), st.just("lost file")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(STEP, st.sampled_from([AUDIO, PICTURE])), max_size=30))
def test_any_life(
    tmp_path_factory: pytest.TempPathFactory, life: list[tuple[object, SliceOrigin]]
) -> None:
    """Names of slices that nothing is left of are forgotten with the file, and no others."""
    directory = tmp_path_factory.mktemp("task")
    names, used = UsedNames(directory), set[tuple[int, str]]()
    second = NOW
    for step, origin in life:
        if isinstance(step, int):
            second += step
            (taken,) = take(names, second, origin=origin)
            assert taken >= second
            assert (taken, origin.extension) not in used
            used.add((taken, origin.extension))
            continue
        if step == "power cut" and (directory / FILE).exists():
            with (directory / FILE).open("ab") as file:
                file.write(b"[1700000001,17000")
        elif step == "lost file":
            (directory / FILE).unlink(missing_ok=True)
            used.clear()
        names = UsedNames(directory)


async def test_a_lost_file_is_made_up_from_the_slices_that_wait(tmp_path: Path) -> None:
    """And stays so when they are uploaded."""
    site = SpoolSite(tmp_path / "spool")
    async with site.open(TASK) as spool:
        for _ in range(2):
            spool.put(AUDIO, START_MS, b"heard", {})
        spool.grow(AUDIO, START_MS).append(b"grows")
    (site.task_path() / FILE).unlink()
    async with site.open() as spool:
        waiting = read_waiting(spool)
        for whole, _ in waiting:
            spool.remove(TASK.task_id, whole.name)
    async with site.open() as spool:
        spool.put(AUDIO, START_MS, b"new", {})
    keys = [whole.object_key for whole, _ in waiting] + [site.ready[-1].object_key]
    assert sorted(keys) == [KEY.format(second) for second in (21, 22, 23, 24)]


async def test_a_name_is_used_once_in_two_lives_of_a_task(tmp_path: Path) -> None:
    """With a wall clock that was set back between them, and a slice that is only repaired in the
    second one."""
    site = SpoolSite(tmp_path / "spool")
    async with site.open(TASK) as spool:
        growing = spool.grow(AUDIO, START_MS)
        growing.append(b"grows")
        spool.put(AUDIO, START_MS, b"short", {})
    async with site.open() as spool:
        keys = [whole.object_key for whole, _ in read_waiting(spool)]
        assert sorted(keys) == [KEY.format(21), KEY.format(22)]
        for start_ms in (START_MS - 2000, START_MS - 1000, START_MS, START_MS + 1000):
            spool.put(AUDIO, start_ms, b"new", {})
        await spool.flush()
    assert [each.object_key for each in site.ready[2:]] == [
        KEY.format(second) for second in (19, 20, 23, 24)
    ]


def test_a_file_that_is_taken_away_gives_no_name_twice(tmp_path: Path) -> None:
    """Also if the wall clock is set back then: what memory has forgotten is not guessed at."""
    names = UsedNames(tmp_path)
    for second in range(100, 110):
        names.take(AUDIO, second, "")
    names.write()
    (tmp_path / FILE).unlink()
    again = [names.take(AUDIO, second, "") for second in (100, 101, 200, 105)]
    names.write()
    again += [names.take(AUDIO, second, "") for second in (100, 200, 201)]
    assert len(set(again)) == 7
    assert min(again) >= 110
