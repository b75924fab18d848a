"""Puts on record, and so tells, that uploads of a task have failed: events 1006."""

from collections.abc import Sequence

import structlog

from cloudslice.slices import TaskRef
from cloudslice.uploads.backlog import Pending
from cloudslice.uploads.shared import Shared
from cloudslice.uploads.storage_errors import StorageError

_log = structlog.get_logger(__name__)


async def report(shared: Shared, task: TaskRef, error: StorageError, *, url: str | None) -> None:
    """An upload failed; it is told if the reason is new.

    Args:
        url: of the bucket, as far as it is known.
    """
    shared.counters.failed_attempts += 1
    is_new = await shared.database.persist(lambda c: shared.progress.fail(c, task, error))
    level = _log.warning if is_new else _log.debug
    where = {"task_id": task.task_id, "bucket": url}
    level("upload failed", **where, status=error.status, error=str(error))


async def give_up(
    shared: Shared, task: TaskRef, slices: Sequence[Pending], error: StorageError
) -> None:
    """Slices will never be in the bucket: their files go."""
    count = len(slices)
    await shared.database.persist(lambda c: shared.progress.lose(c, task, error, count))
    for each in slices:
        shared.spool.remove(task.task_id, each.name)
    # One line for all of them: there may be very many.
    where = {"task_id": task.task_id, "first": slices[0].name, "last": slices[-1].name}
    _log.error("slices given up", **where, count=count, why=str(error))
