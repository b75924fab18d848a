"""Event 1005 tells the truth of all nodes that had a task: on real NATS, with a real bucket."""

import pytest

from cloudslice.cluster import registry_keys as keys
from cloudslice.tasks.store import StoredTask
from helpers.cluster_side import OpenSide, fail_over
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


async def test_a_task_that_one_node_had_leaves_nothing(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    one = await open_delivery_side("one")
    await one.store.create(task, since_ms=SINCE_MS)
    await one.take(task, 5)
    await one.hear(task, 1)
    await one.finish(task)
    await eventually(lambda: one.told == [ALL])
    await eventually(lambda: not one.view.ended)
    assert await one.registry.get(keys.ended_key(task.task_id)) is None
    await eventually(lambda: not one.delivery.uploader.queues.knows(task.task_id))


async def test_the_end_waits_for_what_a_former_node_has(
    open_delivery_side: OpenSide, task: StoredTask, s3_server: S3Server
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    one.lose(task)
    await two.finish(task)
    await eventually(lambda: two.view.ended[task.task_id].holders == {"one"})
    assert two.told == []
    one.bucket_wire.restore()
    await eventually(lambda: two.told == [ALL])
    await eventually(lambda: not two.view.ended)
    assert one.told == []
    assert sorted(one.stored + two.stored) == s3_server.keys(task.bucket.name)
    assert len(one.stored) == 2


async def test_a_former_node_that_is_done_before_the_end_is_not_waited_for(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    one.lose(task)
    one.bucket_wire.restore()
    await eventually(lambda: two.view.tasks[task.task_id].values["holders"] == ["two"])
    await two.finish(task)
    await eventually(lambda: two.told == [ALL])


async def test_what_a_former_node_has_lost_is_told(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    one.lose(task)
    damaged, _ = sorted((one.data_dir / "spool" / task.task_id).glob("*.slice"))
    damaged.write_bytes(b"something else")
    one.bucket_wire.restore()
    await two.finish(task)
    await eventually(lambda: two.told == [SOME])
    await eventually(lambda: not two.view.ended)
    assert any("SpoolDamage" in reason for reason in one.failed)


async def test_a_node_that_is_gone_is_told_to_have_slices_and_then_that_they_came(
    open_delivery_side: OpenSide, task: StoredTask, s3_server: S3Server
) -> None:
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await fail_over(one, two, task)
    await one.stop()
    await two.finish(task)
    await eventually(lambda: two.told == [SOME])
    await one.start()
    await eventually(lambda: two.told == [SOME, LATER])
    await eventually(lambda: not two.view.ended)
    assert one.told == []
    assert sorted(one.stored + two.stored) == s3_server.keys(task.bucket.name)


async def test_another_node_tells_the_end_for_one_that_is_gone(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    """And goes on with that after a restart of its own; the one that comes back tells nothing."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await one.store.create(task, since_ms=SINCE_MS)
    await one.take(task, 5)
    one.bucket_wire.cut()
    await one.hear(task, 1)
    one.delivery.uploader.queues.stop()  # as a kill would
    await one.finish(task)
    await one.stop()
    await eventually(lambda: two.told == [SOME])
    await two.stop()
    await two.start()
    await one.start()
    await eventually(lambda: two.told == [SOME, LATER])
    assert one.told == []
    await eventually(lambda: not two.view.ended)


async def test_a_node_that_is_back_in_time_tells_the_end_itself(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    one = await open_delivery_side("one")
    await one.store.create(task, since_ms=SINCE_MS)
    await one.take(task, 5)
    one.bucket_wire.cut()
    await one.hear(task, 1)
    await one.finish(task)
    await one.stop()
    await one.start()
    await eventually(lambda: one.told == [ALL])


async def test_a_node_that_never_had_a_directory_is_waited_for_until_it_is_back(
    open_delivery_side: OpenSide, task: StoredTask
) -> None:
    """It was killed between taking the task and opening its spool."""
    one, two = await open_delivery_side("one"), await open_delivery_side("two")
    await one.store.create(task, since_ms=SINCE_MS)
    await one.take(task, 5)
    await one.stop()
    (one.data_dir / "spool" / task.task_id / "task").unlink()
    await two.take(task, 9)
    await two.hear(task, 1)
    await one.start()
    await eventually(lambda: two.view.tasks[task.task_id].values["holders"] == ["two"])
    await two.finish(task)
    await eventually(lambda: two.told == [ALL])
