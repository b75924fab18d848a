"""How much of what a node can do is free, as measured."""

import os
import time

_EVERY_S = 1.0
_SMOOTHING = 0.3
"""How much the last measurement counts."""
FULL_BELOW = 0.1
"""A node with less headroom takes no new tasks."""


class Headroom:
    """Measures this process; for the event loop's thread.

    The event loop is what gives out first: its thread can use one core. Picture processes are not
    measured: when they cannot keep up, pictures are skipped and counted, and no packet waits.
    """

    def __init__(self) -> None:
        self._cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        self._busy = 0.0
        self._last = (time.monotonic(), time.thread_time(), time.process_time())

    def measure(self) -> float:
        """0 to 1, smoothed over some measurements; those within a second are one."""
        now, thread, process = time.monotonic(), time.thread_time(), time.process_time()
        then, thread_then, process_then = self._last
        if now - then >= _EVERY_S:
            loop = (thread - thread_then) / (now - then)
            whole = (process - process_then) / (now - then) / self._cores
            self._busy += _SMOOTHING * (max(loop, whole) - self._busy)
            self._last = (now, thread, process)
        return min(max(1 - self._busy, 0.0), 1.0)
