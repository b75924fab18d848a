"""Whatever step a kill or a power cut comes before: what was told as ready is there."""

from pathlib import Path

import pytest

from cloudslice.slices import Slice
from helpers.mortal_disk import Killed, MortalDisk
from helpers.spool_site import AUDIO, BUCKET, PICTURE, START_MS, TASK, SpoolSite, read_waiting
from helpers.writer_stage import WriterStage

PIECE = b"of the first second, "


class Life:
    """A process that handles slices of all kinds, some of them in the same second.

    Attributes:
        told: what it has told as ready, with its content.
        keys: the names of all slices that became whole.
        removed: what was uploaded.
    """

    def __init__(self, directory: Path) -> None:
        self.told: dict[str, tuple[Slice, bytes]] = {}
        self.keys: set[str] = set()
        self.removed: set[str] = set()
        self._directory = directory

    def run(self) -> None:
        stage = self._stage = WriterStage(self._directory)
        first = stage.begin(PIECE, b"first")
        self._finish(first)
        second = stage.begin(PIECE)
        picture = stage.begin(b"picture", origin=PICTURE)
        self._finish(picture)
        stage.append(second, b"second")
        self._finish(second)
        stage.tasks.remove(TASK.task_id, first.name)
        self.removed.add(first.name)
        cut = stage.begin(PIECE)
        stage.abandon(cut)
        self._note()
        stage.abandon(stage.begin(b"half a picture", origin=PICTURE))
        stage.begin(PIECE)
        stage.close()

    def _finish(self, draft: object) -> None:
        self._stage.finish(draft)  # type: ignore[arg-type]
        self._note()

    def _note(self) -> None:
        ready, self._stage.ready = self._stage.ready, []
        for each in ready:
            assert each.object_key not in self.keys
            self.keys.add(each.object_key)
            path = self._stage.whole(each.name)
            self.told[each.name] = (each, path.read_bytes())


async def check(life: Life, directory: Path) -> None:
    """The next process finds all that was told, whole, and gives no name a second time."""
    site = SpoolSite(directory)
    async with site.open() as spool:
        found = {whole.name: (whole, content) for whole, content in read_waiting(spool)}
        for name, (told, _) in life.told.items():
            if name not in life.removed:
                assert found[name][0] == told
        new = {name: whole for name, (whole, _) in found.items() if name not in life.told}
        await spool.open(TASK, BUCKET)
        for _ in range(3):
            spool.put(AUDIO, START_MS, b"of a later life", {})
        await spool.flush()
    assert (site.lost, site.quarantined) == ([], {})
    for content in (content for _, content in found.values()):
        assert content.startswith(PIECE) or content in (b"picture", PIECE + b" repaired")
    new |= {whole.name: whole for whole in site.ready}
    if life.told or new:
        keys = [whole.object_key for whole in new.values()]
        assert len({*keys, *life.keys}) == len(keys) + len(life.keys)


def count_steps(directory: Path) -> int:
    directory.mkdir()
    with MortalDisk(directory) as disk:
        Life(directory).run()
    return disk.steps


async def test_a_kill_before_any_step(tmp_path: Path) -> None:
    """Of what came to the disk nothing is lost; what is half written is told apart."""
    for step in range(count_steps(tmp_path / "whole")):
        directory = tmp_path / str(step)
        directory.mkdir()
        life = Life(directory)
        with MortalDisk(directory) as disk:
            disk.die_at = step
            with pytest.raises(Killed):
                life.run()
        await check(life, directory)


async def test_a_power_cut_before_any_step(tmp_path: Path) -> None:
    """On a device that keeps nothing but what was flushed."""
    for step in range(count_steps(tmp_path / "whole")):
        directory, left = tmp_path / str(step), tmp_path / f"{step} after"
        directory.mkdir()
        life = Life(directory)
        with MortalDisk(directory) as disk:
            disk.die_at = step
            with pytest.raises(Killed):
                life.run()
        disk.copy_durable(left)
        # Names of what is uploaded and gone may be forgotten if that was a moment ago.
        life.keys = {
            whole.object_key for name, (whole, _) in life.told.items() if name not in life.removed
        }
        await check(life, left)
