"""How the uploads of a task come to their end: told by event 1005, or left to another node."""

from collections.abc import Callable
from math import inf

from cloudslice.slices import TaskRef
from cloudslice.uploads.shared import Shared
from cloudslice.uploads.upload_pace import Trouble

_ASK_AGAIN_S = 1.0


class Settling:
    """The end of one task's uploads.

    Attributes:
        is_elsewhere: whether another node goes on with the task, and tells of its end.
        ask_again_at: the monotonic second from which other nodes are to be asked again.
    """

    def __init__(
        self, task: TaskRef, shared: Shared, trouble: Trouble, is_idle: Callable[[], bool]
    ) -> None:
        """
        Args:
            task: the task.
            shared: tells what other nodes have of it, and keeps what is told.
            trouble: of its uploads.
            is_idle: whether nothing of it is left here.
        """
        self.is_elsewhere = False
        self.ask_again_at = inf
        self._task = task
        self._shared = shared
        self._trouble = trouble
        self._is_idle = is_idle
        self._ended_at: float | None = None
        self._is_told = False
        """Whether it is known to be told that uploads are incomplete."""

    @property
    def has_ended(self) -> bool:
        """Whether no slice will be added by the task; on record."""
        return self._ended_at is not None

    def end(self) -> None:
        """The task has ended, which is on record."""
        if self._ended_at is None:
            self._ended_at = self._shared.clock.monotonic()
        self.is_elsewhere = False

    @property
    def patience_ends_at(self) -> float:
        """The monotonic second from which it is told that uploads are incomplete."""
        if self._ended_at is None:
            return inf
        end = self._shared.others.find_end(self._task.task_id)
        since = self._ended_at if end is not None and end.is_waiting else inf
        if self._trouble.failures:
            since = min(since, max(self._ended_at, self._trouble.since))
        return since + self._shared.patience_s

    async def settle(self, *, is_busy: bool) -> bool:
        """Whether nothing is left to do for the task.

        Args:
            is_busy: whether uploads are under way, or not on record.
        """
        self.ask_again_at = inf
        if is_busy:
            return False
        if self._is_left:
            return self._is_idle() and await self._leave()
        return self.has_ended and await self._tell_end()

    @property
    def _is_left(self) -> bool:
        """Whether another node tells of the task's end."""
        if not self.has_ended:
            return self.is_elsewhere
        end = self._shared.others.find_end(self._task.task_id)
        return end is not None and not end.is_ours

    async def _leave(self) -> bool:
        """Be done with another node's task of which nothing is left here; whether it is so."""
        shared, task_id = self._shared, self._task.task_id
        has_lost = await shared.database.persist(lambda c: shared.progress.has_lost(c, task_id))
        if not await shared.others.release(task_id, has_lost=has_lost):
            self.ask_again_at = shared.clock.monotonic() + _ASK_AGAIN_S
            return False
        # It may have become this node's again, meanwhile and below.
        if self._is_left and self._is_idle():
            await shared.database.persist(lambda c: shared.progress.forget(c, [task_id]))
        return self._is_left and self._is_idle()

    async def _tell_end(self) -> bool:
        """Tell how far the uploads have come, if that is due; whether nothing is left to do."""
        shared, task_id = self._shared, self._task.task_id
        end = shared.others.find_end(task_id)
        if end is None:
            return False
        has_slices = end.is_waiting or not self._is_idle()
        is_over = self.patience_ends_at <= shared.clock.monotonic()
        if has_slices and (self._is_told or not is_over):
            return False
        if not await shared.others.claim(task_id, is_final=not has_slices):
            self.ask_again_at = shared.clock.monotonic() + _ASK_AGAIN_S
            return False
        is_done = await shared.database.persist(
            lambda c: shared.progress.settle(
                c, self._task, has_slices=has_slices, is_over=is_over, has_lost=end.has_lost
            )
        )
        self._is_told = True
        if is_done:
            await shared.others.close(task_id)
        return is_done
