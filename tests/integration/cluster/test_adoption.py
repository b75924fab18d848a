"""A node delivers the spool of another one that is gone: on real NATS, with a real bucket."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cloudslice.cluster import registry_keys as keys
from cloudslice.secrets import SecretBox
from cloudslice.spool.foreign_spool import AdoptionError
from cloudslice.spool.slice_format import WHOLE
from cloudslice.spool.task_directory import TaskDirectory
from cloudslice.tasks.store import StoredTask
from helpers.cluster_side import ClusterSide, OpenSide, fail_over
from helpers.delivery import BOX
from helpers.s3_server import S3Server
from helpers.task_stores import SINCE_MS
from helpers.waiting import eventually

ALL, SOME, LATER = 0, 1, 2
"""The Status of event 1005 (docs/wire.md, 10.3)."""

pytestmark = [
    # Its client leaves the sockets of connections that fail to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def tree(directory: Path) -> dict[str, bytes]:
    """All files in a directory and below."""
    return {name: (directory / name).read_bytes() for name in names(directory)}


def names(directory: Path) -> list[str]:
    """Their names; they may be moved meanwhile."""
    found = [Path(path) / name for path, _, files in os.walk(directory) for name in files]
    return sorted(str(path.relative_to(directory)) for path in found)


async def test_the_node_that_goes_on_with_a_task_adopts(
    open_delivery_side: OpenSide, task: StoredTask, s3_server: S3Server
) -> None:
    """Also what is of seconds that it had no right to while another node had the task."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    await one.stop()
    adopted = await two.adopt(one.data_dir)
    assert (adopted.slices, adopted.tasks, adopted.left) == (2, 1, 0)
    assert list((one.data_dir / "spool").iterdir()) == []
    await eventually(lambda: two.view.tasks[task.task_id].values["holders"] == ["two"])
    await two.finish(task)
    await eventually(lambda: two.told == [ALL])
    assert len(set(two.stored)) == len(two.stored) == 3
    assert sorted(two.stored) == s3_server.keys(task.bucket.name)
    assert two.failed == []


async def test_a_node_adopts_what_belongs_to_the_task_of_a_third_one(
    open_delivery_side: OpenSide, task: StoredTask, s3_server: S3Server
) -> None:
    """It is waited for, and tells no end."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    three = await open_delivery_side("three")
    await fail_over(one, two, task)
    await one.stop()
    three.bucket_wire.cut()
    await three.adopt(one.data_dir)
    await eventually(lambda: two.view.tasks[task.task_id].values["holders"] == ["three", "two"])
    await two.finish(task)
    await eventually(lambda: two.view.ended[task.task_id].holders == {"three"})
    three.bucket_wire.restore()
    await eventually(lambda: two.told == [ALL])
    assert three.told == []
    assert sorted(two.stored + three.stored) == s3_server.keys(task.bucket.name)


async def test_an_adoption_that_was_cut_off_goes_on(
    open_delivery_side: OpenSide, task: StoredTask, s3_server: S3Server
) -> None:
    """What was adopted before is stored meanwhile; the end waits for the rest, and comes once."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    three = await open_delivery_side("three")
    await fail_over(one, two, task)
    await one.hear(task, 300)
    await one.stop()
    count = len(names(one.data_dir / "spool"))
    adopting = asyncio.create_task(three.adopt(one.data_dir))
    await eventually(lambda: len(names(one.data_dir / "spool")) < count - 50)
    adopting.cancel()
    await asyncio.wait([adopting])
    await three.stop()
    assert len(names(one.data_dir / "spool")) > 50
    await two.finish(task)
    await three.start()
    await eventually(lambda: not three.delivery.uploader.queues.knows(task.task_id))
    assert two.view.ended[task.task_id].holders == {"one"}
    await three.adopt(one.data_dir)
    await eventually(lambda: not two.view.ended)
    assert two.told in ([ALL], [SOME, LATER]), "by how long it took"
    assert three.told == []
    stored = two.stored + three.stored
    assert len(set(stored)) == len(stored) == 303
    assert sorted(stored) == s3_server.keys(task.bucket.name)


async def test_what_was_told_to_be_missing_is_told_to_be_there(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    await one.stop()
    await two.finish(task)
    await eventually(lambda: two.told == [SOME])
    await two.adopt(one.data_dir / "spool")
    await eventually(lambda: two.told == [SOME, LATER])
    await eventually(lambda: not two.view.ended)


async def test_who_adopts_the_slices_of_an_ended_task_tells_its_end(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await one.store.create(task, since_ms=SINCE_MS)
    await one.take(task, 5)
    one.bucket_wire.cut()
    await one.hear(task, 1)
    await one.finish(task)
    await one.stop()
    await two.adopt(one.data_dir)
    await eventually(lambda: two.told == [ALL])
    await eventually(lambda: not two.view.ended)
    await one.start()
    await eventually(lambda: not one.delivery.uploader.queues.knows(task.task_id))
    assert one.told == []


async def test_an_empty_spool_is_known_to_be_empty(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    """Nobody waits for its node any more."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await one.store.create(task, since_ms=SINCE_MS)
    await one.take(task, 5)
    await one.stop()
    await two.take(task, 9)
    await two.finish(task)
    await eventually(lambda: two.view.ended[task.task_id].holders == {"one"})
    adopted = await two.adopt(one.data_dir)
    assert adopted.slices == 0
    await eventually(lambda: two.told == [ALL])


async def test_slices_that_grew_are_completed_and_damaged_ones_are_told(
    open_delivery_side: OpenSide, task: StoredTask, tmp_path: Path, s3_server: S3Server
) -> None:
    """What nobody understands is set aside, where it was."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    one.grow(task)
    await one.delivery.flush()
    left = tmp_path / "left"
    shutil.copytree(one.data_dir, left)
    await one.stop()
    damaged, _ = sorted((left / "spool" / task.task_id).glob(f"*{WHOLE}"))
    damaged.write_bytes(b"something else")
    (left / "spool" / task.task_id / "stranger").write_bytes(b"?")
    adopted = await two.adopt(left)
    assert (adopted.slices, adopted.left) == (3, 0)
    await two.finish(task)
    await eventually(lambda: two.told == [SOME])
    (reason,) = two.failed
    assert reason.startswith("SpoolDamage")
    stored = s3_server.keys(task.bucket.name)
    assert sorted(two.stored) == stored
    (grown,) = [key for key in stored if "anchor_2" in key]
    assert s3_server.get(task.bucket.name, grown).data == b"heard until now repaired"
    assert tree(left / "spool") == {"quarantine/stranger": b"?"}


async def test_what_was_recorded_beside_the_new_owner_is_not_stored(
    open_delivery_side: OpenSide, task: StoredTask, s3_server: S3Server
) -> None:
    """Its name may be that of another slice."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    await one.stop()
    clock = await two.registry.get(keys.CLOCK + "one")
    assert clock is not None
    await two.registry.put(clock.key, b"100")
    adopted = await two.adopt(one.data_dir)
    assert adopted.slices == 0
    await two.finish(task)
    await eventually(lambda: two.told == [SOME])
    assert all("after another node had taken the room" in reason for reason in two.failed)
    assert len(s3_server.keys(task.bucket.name)) == 1
    assert len(tree(one.data_dir / "spool" / "quarantine")) == 2


async def test_a_task_whose_file_is_damaged_is_told_to_have_lost_slices(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    await one.stop()
    spool = one.data_dir / "spool"
    other = replace(task.ref, task_id="another-task")
    TaskDirectory.make(spool / other.task_id, other, task.bucket, BOX).write()
    (spool / task.task_id / "task").write_bytes(b"something else")
    adopted = await two.adopt(one.data_dir)
    assert adopted.slices == 0
    assert len(list((spool / "quarantine" / task.task_id).glob(f"*{WHOLE}"))) == 2
    await two.finish(task)
    await eventually(lambda: two.told == [SOME])


Spoil = Callable[[ClusterSide, ClusterSide], Awaitable[Path]]


async def _missing(one: ClusterSide, _two: ClusterSide) -> Path:
    await one.stop()
    return one.data_dir / "nothing"


async def _in_use(one: ClusterSide, _two: ClusterSide) -> Path:
    return one.data_dir


async def _own(one: ClusterSide, two: ClusterSide) -> Path:
    await one.stop()
    return two.data_dir


async def _copy_of_a_running_one(one: ClusterSide, _two: ClusterSide) -> Path:
    return Path(shutil.copytree(one.data_dir, one.data_dir.parent / "copy"))


async def _another_key(one: ClusterSide, _two: ClusterSide) -> Path:
    await one.stop()
    (path,) = (one.data_dir / "spool").iterdir()
    task = TaskDirectory.load(path, BOX)
    bucket = task.load_bucket()
    TaskDirectory.make(path, task.task, bucket, SecretBox(bytes([7] * 32))).write()
    return one.data_dir


async def _no_spool(one: ClusterSide, _two: ClusterSide) -> Path:
    await one.stop()
    directory = one.data_dir / "photographs"
    directory.mkdir()
    (directory / "cat.jpg").write_bytes(b"cat")
    return directory


async def _nameless(one: ClusterSide, _two: ClusterSide) -> Path:
    await one.stop()
    (one.data_dir / "node").unlink()
    return one.data_dir


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(_missing, "no such directory", id="missing"),
        pytest.param(_in_use, "another process uses it", id="in use"),
        pytest.param(_own, "the node's own spool", id="its own"),
        pytest.param(_copy_of_a_running_one, "its node is running: one", id="copy"),
        pytest.param(_another_key, "encrypted with another key", id="another key"),
        pytest.param(_no_spool, "this is no spool", id="no spool"),
        pytest.param(_nameless, "no file `node`", id="nameless"),
    ],
)
async def test_what_cannot_be_adopted_is_left_as_it_is(
    open_delivery_side: OpenSide, task: StoredTask, spoil: Spoil, reason: str
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    await eventually(lambda: not two.delivery.spool.count_open(task.task_id))
    directory = await spoil(one, two)
    before = tree(one.data_dir / "spool")
    with pytest.raises(AdoptionError, match=reason):
        await two.adopt(directory)
    assert tree(one.data_dir / "spool") == before
    found = await two.store.find(task.task_id)
    assert found is not None
    assert found[0]["holders"] == ["one", "two"]
