"""Threads for long calculations that let everything else go first."""

import os
import threading
from collections import deque
from collections.abc import Callable

_NICENESS = 5
"""More than the rest of the process: where all of a core is wanted, such a thread has a quarter."""
_ENOUGH_FOR_ONE = 8
"""So many may wait for a thread before another one helps."""

Work = Callable[[int], None]
"""Called with the number of the thread, from 0 on; raises nothing."""


class WorkerThreads:
    """Works through what is submitted, in order.

    One thread does what it can: it finds its memory in the caches, and another one's would come on
    top. Each further thread helps while more wait than is enough for those before it.
    """

    def __init__(self, count: int, name: str) -> None:
        self._waiting: deque[Work] = deque()
        self._is_closed = False
        lock = threading.Lock()
        self._turns = [threading.Condition(lock) for _ in range(count)]
        """Where each thread waits for there to be enough; all have the same lock."""
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"{name}-{number}")
            for number in range(count)
        ]
        for each in self._threads:
            each.start()

    def submit(self, work: Work) -> None:
        """Have it done. Returns at once."""
        with self._turns[0]:
            self._waiting.append(work)
            for number, turn in enumerate(self._turns):
                if self._has_enough(number):
                    turn.notify()

    def close(self) -> None:
        """Drop what waits, and wait for what is being done."""
        with self._turns[0]:
            self._is_closed = True
            self._waiting.clear()
            for turn in self._turns:
                turn.notify()
        for each in self._threads:
            each.join()

    def _has_enough(self, number: int) -> bool:
        return len(self._waiting) > number * _ENOUGH_FOR_ONE

    def _run(self, number: int) -> None:
        _yield_to_others()
        turn = self._turns[number]
        while True:
            with turn:
                turn.wait_for(lambda: self._is_closed or self._has_enough(number))
                if self._is_closed:
                    return
                work = self._waiting.popleft()
            work(number)


def _yield_to_others() -> None:
    """Give the calling thread a lower priority than the process has: on Linux each has its own."""
    thread = threading.get_native_id()
    niceness = os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS
    os.setpriority(os.PRIO_PROCESS, thread, min(niceness, 19))
