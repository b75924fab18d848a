"""What processes use, as the kernel counts it (proc(5))."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live: those of its first thread."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """CPU time so far, user and system, of a process and those that it has started."""
    # After the name, which may hold spaces, the third field follows. The last two are of children
    # that have ended.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS_PER_S + sum(map(cpu_seconds, children(pid)))


def memory_mb(pid: int) -> float:
    """The memory of a process and those that it has started, their part of what they share with
    others (PSS), in MB. Of picture processes, whose mappings only root may see, all of it."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kilobytes = int(rollup.partition("\nPss:")[2].split()[0])
    except PermissionError:
        status = Path(f"/proc/{pid}/status").read_text()
        kilobytes = int(status.partition("VmRSS:")[2].split()[0])
    return kilobytes * 1024 / 1e6 + sum(map(memory_mb, children(pid)))


def udp_overflows() -> int:
    """Datagrams so far that came while their socket's buffer was full, of all UDP sockets here."""
    names, values = (
        line.split()
        for line in Path("/proc/net/snmp").read_text().splitlines()
        if line.startswith("Udp: ")
    )
    overflows = int(dict(zip(names, values, strict=True))["RcvbufErrors"])
    inet6 = Path("/proc/net/snmp6")
    for line in inet6.read_text().splitlines() if inet6.exists() else ():
        if line.startswith("Udp6RcvbufErrors"):
            overflows += int(line.split()[1])
    return overflows


def machine_cpu_seconds() -> tuple[float, float]:
    """CPU time of the machine so far: busy, and altogether."""
    fields = [int(each) for each in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    total, idle = sum(fields), fields[3] + fields[4]
    return (total - idle) / _TICKS_PER_S, total / _TICKS_PER_S


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU used between two moments; in % of one core."""

    process: float
    others: float
    """Of the other processes that were asked for."""
    machine: float
    """Of the whole machine in % of all its cores, everybody's."""


class Meter:
    """Measures processes from its making on."""

    def __init__(self, pid: int, others: Iterable[int], now: float) -> None:
        self._pid = pid
        self._others = tuple(others)
        self._started = now
        self._before = self._read()
        self._machine_before = machine_cpu_seconds()

    def usage(self, now: float) -> Usage:
        process, others = self._read()
        busy, total = machine_cpu_seconds()
        percent = 100 / (now - self._started)
        return Usage(
            (process - self._before[0]) * percent,
            (others - self._before[1]) * percent,
            100 * (busy - self._machine_before[0]) / (total - self._machine_before[1]),
        )

    def _read(self) -> tuple[float, float]:
        return cpu_seconds(self._pid), sum(map(cpu_seconds, self._others))
