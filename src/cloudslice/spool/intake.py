"""Takes what slicing hands in, on the event loop, and passes it to the writer on its thread."""

from collections import Counter
from collections.abc import Callable

from cloudslice.slices import Details, SliceOrigin
from cloudslice.spool.drafts import Draft, Finish, Outcome
from cloudslice.spool.recovery import TakenUp
from cloudslice.spool.slice_format import new_name
from cloudslice.spool.writer import SliceWriter

_BACKLOG_BYTES = 64 * 1024 * 1024
"""What may wait in memory for a slow or full disk: several seconds of what a thousand anchors
send."""

Step = Callable[[Draft], None]


class Intake:
    """Names slices, counts them and their bytes, and bounds what waits in memory.

    Attributes:
        used_bytes: what the slices in the spool take, growing ones included.
    """

    def __init__(
        self,
        writer: SliceWriter,
        gather: Callable[[Callable[[], None]], None],
        now_ms: Callable[[], int],
    ) -> None:
        """
        Args:
            gather: takes a call for its thread.
            now_ms: the time from which a slice's age counts, of a clock that never steps.
        """
        self.used_bytes = 0
        self._writer = writer
        self._gather = gather
        self._now_ms = now_ms
        self._open: Counter[str] = Counter()
        self._bytes_in = 0
        self._serial = 0

    def grow(self, origin: SliceOrigin, start_ms: int) -> "Growth":
        """See `SliceStore`."""
        self._serial += 1
        draft = Draft(origin, start_ms, new_name(self._now_ms(), self._serial))
        self._open[origin.task_id] += 1
        return Growth(draft, self)

    def count_open(self, task_id: str) -> int:
        """How many slices of a task were begun and are not whole or lost yet."""
        return self._open[task_id]

    def note_taken_up(self, taken_up: TakenUp) -> None:
        """A former process has left these."""
        self.used_bytes += sum(each.size for some in taken_up.waiting.values() for each in some)
        for draft in taken_up.growing:
            self.used_bytes += draft.size
            self._open[draft.origin.task_id] += 1

    def note(self, outcome: Outcome) -> None:
        """This has become of a batch."""
        self.used_bytes -= outcome.freed
        self._open.subtract(each.slice.origin.task_id for each in outcome.ready)
        self._open.subtract(outcome.gone)

    def forget(self, task_id: str) -> None:
        """A task has no slices any more."""
        self._open.pop(task_id, None)

    def append(self, draft: Draft, data: bytes) -> None:
        """A slice begins, or goes on; beyond the bound of memory it is cut."""
        if self._bytes_in - self._writer.bytes_out + len(data) > _BACKLOG_BYTES:
            self.abandon(draft, "the disk is too slow")
            return
        self._bytes_in += len(data)
        self.used_bytes += len(data)
        self._hand_in(draft, lambda each: self._writer.append(each, data), len(data))

    def finish(self, draft: Draft, finish: Finish) -> None:
        """A slice is complete."""
        self._hand_in(draft, lambda each: self._writer.finish(each, finish))

    def abandon(self, draft: Draft, reason: str) -> None:
        """What comes now of a slice cannot be kept."""
        self._hand_in(draft, lambda each: self._writer.abandon(each, reason))

    def _hand_in(self, draft: Draft, step: Step, size: int = 0) -> None:
        self._gather(lambda: self._writer.take(draft, step, size))


class Growth:
    """A `GrowingSlice`."""

    def __init__(self, draft: Draft, intake: Intake) -> None:
        self._draft = draft
        self._intake = intake
        self._is_open = True

    def append(self, data: bytes) -> None:
        """See `GrowingSlice`."""
        self._check_open()
        self._intake.append(self._draft, data)

    def finish(
        self, start_utc_ms: int, duration_ms: int, details: Details, *, head: bytes = b""
    ) -> None:
        """See `GrowingSlice`."""
        self._end()
        self._intake.finish(self._draft, Finish(start_utc_ms, duration_ms, details, head))

    def abandon(self, reason: str) -> None:
        """See `GrowingSlice`."""
        if self._is_open:
            self._end()
            self._intake.abandon(self._draft, reason)

    def _end(self) -> None:
        self._check_open()
        self._is_open = False

    def _check_open(self) -> None:
        if not self._is_open:
            raise RuntimeError("the slice is finished or abandoned")
