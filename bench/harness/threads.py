"""CPU time and wake-ups of this process, by thread, as the kernel counts them (proc(5))."""

import threading
import time
from collections import Counter
from pathlib import Path


class ThreadMeter:
    """Adds up what threads take between `start` and `stop`, however often.

    Attributes:
        cpu_ns: CPU time by thread name; threads of one pool are one.
        wakeups: how often they were woken from a wait.
        seconds: how long that was.
    """

    def __init__(self) -> None:
        self.cpu_ns: Counter[str] = Counter()
        self.wakeups: Counter[str] = Counter()
        self.seconds = 0.0
        self._started = 0.0
        self._before: dict[int, tuple[int, int]] = {}

    def start(self) -> None:
        self._started = time.monotonic()
        self._before = {thread: _read(thread) for thread in _threads()}

    def stop(self) -> None:
        self.seconds += time.monotonic() - self._started
        names = {each.native_id: each.name for each in threading.enumerate()}
        for thread in _threads():
            name = (names.get(thread) or _kernel_name(thread)).partition("_")[0]
            cpu_ns, wakeups = _read(thread)
            cpu_before, wakeups_before = self._before.get(thread, (0, 0))
            self.cpu_ns[name] += cpu_ns - cpu_before
            self.wakeups[name] += wakeups - wakeups_before


def _threads() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/task").iterdir()]


def _read(thread: int) -> tuple[int, int]:
    task = Path(f"/proc/self/task/{thread}")
    lines = (task / "status").read_text().splitlines()
    [switches] = [line for line in lines if line.startswith("voluntary_ctxt_switches")]
    return int((task / "schedstat").read_text().split()[0]), int(switches.split()[1])


def _kernel_name(thread: int) -> str:
    return Path(f"/proc/self/task/{thread}/comm").read_text().strip()
