"""What it costs to have growing slices on the device each second: one `syncfs` for all of them,
against an `fdatasync` of each, and against leaving it to the kernel.

Files grow by a second of audio each second, evenly, as the spool writes them. Beside them another
thread makes a small file durable ten times a second, as a slice that ends and a webhook's
transaction do: its time shows what they wait. CPU is that of the process, with the kernel's share.

    python bench/spool_sync.py [--files 20 500] [--seconds 20] [--turns 3] [--directory DIR]
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from cloudslice.spool.files import sync_file_system
from harness.report import describe_machine, table

SECOND_OF_AUDIO = os.urandom(8000)
"""At 64 kbit/s."""
BEAT_S = 0.05
"""What was heard is written at this pace, as the spool gathers it."""
OTHER_S = 0.1


@dataclass(slots=True)
class Turn:
    """Of one way, all in seconds."""

    syncs: list[float] = field(default_factory=list)
    """How long each took, during which the spool's thread does nothing else."""
    others: list[float] = field(default_factory=list)
    """How long another file's flush took."""
    cpu_s_per_s: float = 0.0


def sync_none(_directory: Path, _files: Sequence[Path]) -> None:
    """The kernel writes within 30 s."""


def sync_all(directory: Path, _files: Sequence[Path]) -> None:
    """All files at once."""
    sync_file_system(directory)


def sync_each(_directory: Path, files: Sequence[Path]) -> None:
    """One after the other."""
    for path in files:
        descriptor = os.open(path, os.O_RDWR)
        os.fdatasync(descriptor)
        os.close(descriptor)


WAYS: dict[str, Callable[[Path, Sequence[Path]], None]] = {
    "left to the kernel": sync_none,
    "syncfs": sync_all,
    "fdatasync of each": sync_each,
}


def run(way: Callable[[Path, Sequence[Path]], None], directory: Path, count: int, s: int) -> Turn:
    """Files that grow for so many seconds."""
    files = [directory / f"{number}.part" for number in range(count)]
    turn, stop = Turn(), threading.Event()
    other = threading.Thread(target=flush_others, args=(directory, turn.others, stop))
    other.start()
    beats = round(1 / BEAT_S)
    started, cpu_started = time.monotonic(), time.process_time()
    for beat in range(s * beats):
        time.sleep(max(started + beat * BEAT_S - time.monotonic(), 0))
        for path in files[beat % beats :: beats]:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
            os.pwrite(descriptor, SECOND_OF_AUDIO, os.fstat(descriptor).st_size)
            os.close(descriptor)
        if beat % beats == beats - 1:
            sync_started = time.monotonic()
            way(directory, files)
            turn.syncs.append(time.monotonic() - sync_started)
    turn.cpu_s_per_s = (time.process_time() - cpu_started) / (time.monotonic() - started)
    stop.set()
    other.join()
    for path in files:
        path.unlink()
    return turn


def flush_others(directory: Path, times: list[float], stop: threading.Event) -> None:
    """Make a small file durable again and again."""
    path = directory / "other"
    while not stop.wait(OTHER_S):
        started = time.monotonic()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, SECOND_OF_AUDIO)
        os.fsync(descriptor)
        os.close(descriptor)
        times.append(time.monotonic() - started)
    path.unlink(missing_ok=True)


def show(count: int, name: str, turns: Sequence[Turn]) -> list[str]:
    syncs = [each for turn in turns for each in turn.syncs]
    others = [each for turn in turns for each in turn.others]
    cpu = statistics.median(turn.cpu_s_per_s for turn in turns)
    return [
        str(count),
        name,
        f"{statistics.median(syncs) * 1000:.1f}",
        f"{max(syncs) * 1000:.0f}",
        f"{cpu * 100:.1f}",
        f"{statistics.median(others) * 1000:.1f}",
        f"{statistics.quantiles(others, n=100)[98] * 1000:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--files", type=int, nargs="+", default=[20, 500])
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    options = parser.parse_args()
    print(describe_machine())
    rows = []
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for count in options.files:
            turns: dict[str, list[Turn]] = {name: [] for name in WAYS}
            for _ in range(options.turns):
                for name, way in WAYS.items():
                    turns[name].append(run(way, Path(directory), count, options.seconds))
            rows += [show(count, name, turns[name]) for name in WAYS]
    head = ["files", "each second", "sync ms", "longest", "CPU %", "other flush ms", "p99"]
    print(table(head, rows), end="")


if __name__ == "__main__":
    main()
