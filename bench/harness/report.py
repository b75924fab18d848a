"""Results as JSON, as Markdown tables, and judged by the goals."""

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from harness.measure import Mode, Result
from harness.slices import Punctuality
from harness.yardsticks import NAMES, YardstickResult
from helpers.room_kinds import KINDS

_FFMPEG_WHEN_SET = 5.7
"""% of a core that ffmpeg took, decoding all, where the goals were set: a machine's speed changes
by the hour, and the ratio to what runs beside the server does not."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One repetition: yardsticks and servers, one after the other on the same machine."""

    load_before: float
    """Load average of the last minute."""
    yardsticks: list[YardstickResult]
    results: list[Result]


@dataclass(frozen=True, slots=True)
class Report:
    """All repetitions."""

    machine: dict[str, Any]
    turns: list[Turn]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, report: dict[str, Any]) -> "Report":
        """What `to_json` gave."""
        turns = [
            Turn(
                turn["load_before"],
                [YardstickResult(**each) for each in turn["yardsticks"]],
                [_result(each) for each in turn["results"]],
            )
            for turn in report["turns"]
        ]
        return cls(report["machine"], turns)

    def yardstick(self, name: str) -> float | None:
        """The median CPU of a yardstick, in % of a core."""
        found = [y.cpu_per_anchor for t in self.turns for y in t.yardsticks if y.name == name]
        return median(found) if found else None

    def times_less(self, name: str, result: Result) -> float | None:
        """How many times the CPU of a stream a yardstick takes.

        What ran beside the server, on the same busy machine, is what counts; a yardstick that did
        not is brought to that machine by the one that did both.
        """
        cpu = result.cpu_per_anchor
        if name in result.beside:
            return result.beside[name] / cpu
        alone = self.yardstick(name)
        for both, beside in result.beside.items():
            alone_too = self.yardstick(both)
            if alone is not None and alone_too:
                return beside * alone / alone_too / cpu
        return None if alone is None else alone / cpu

    def of(self, mode: Mode, rooms: str = "builtin") -> list[Result]:
        """One result for each number of anchors in such rooms: that of the median CPU."""
        by_anchors: dict[int, list[Result]] = {}
        for turn in self.turns:
            for each in turn.results:
                if each.mode == mode.value and each.rooms == rooms:
                    by_anchors.setdefault(each.anchors, []).append(each)
        return [
            sorted(group, key=lambda each: each.cpu)[(len(group) - 1) // 2]
            for _, group in sorted(by_anchors.items())
        ]


def _result(fields: dict[str, Any]) -> Result:
    parts = {
        "pictures": fields["pictures"] and Punctuality(**fields["pictures"]),
        "audio": Punctuality(**fields["audio"]),
    }
    return Result(**fields | parts)


def describe_machine() -> dict[str, Any]:
    """Where it was measured."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(": ")[2]
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def is_whole(result: Result) -> bool:
    """Whether all work was done: CPU that was saved by leaving slices out is no gain."""
    pictures = result.pictures
    missing = result.audio.missing + (0 if pictures is None else pictures.missing)
    return missing == result.packets_dropped == result.rejoined == 0


def to_markdown(report: Report) -> str:
    """The tables."""
    parts = [_servers(report), _rooms(report), _ratios(report), _goals(report)]
    return "\n".join(part for part in parts if part)


def _all(report: Report) -> Iterable[Result]:
    for mode in Mode:
        yield from report.of(mode)


def _servers(report: Report) -> str:
    rows = [
        [
            each.mode,
            each.anchors,
            f"{each.cpu_per_anchor:.3f} %",
            f"{each.memory_per_anchor_mb:.2f} MB",
            f"{each.packets_per_s:,}",
            f"{each.packets_read_per_s:,}",
            f"{each.us_per_packet:.1f}",
            *_punctuality(each),
            f"{each.generator_cpu:.0f} %",
            f"{each.machine_cpu:.0f} %",
            f"{each.beside['ffmpeg']:.2f} %" if "ffmpeg" in each.beside else "-",
        ]
        for each in _all(report)
    ]
    head = [
        "slices", "anchors", "CPU per anchor", "memory per anchor", "packets sent/s", "read/s",
        "µs per packet sent", "pictures due / made / late / missing", "picture latency p50 / p99",
        "audio due / made / late / missing", "generator CPU", "machine busy",
        "ffmpeg beside it",
    ]  # fmt: skip
    return table(head, rows)


def _rooms(report: Report) -> str:
    """Rooms of other servers beside our own, where they were measured."""
    rows = [
        [
            each.rooms,
            each.mode,
            each.anchors,
            f"{each.cpu_per_anchor:.3f} %",
            f"{each.cpu_per_anchor * _FFMPEG_WHEN_SET / each.beside['ffmpeg']:.3f} %"
            if "ffmpeg" in each.beside
            else "-",
            f"{100 * each.packets_read_per_s / each.packets_per_s:.1f} %",
            *_punctuality(each),
        ]
        for rooms in KINDS
        for mode in Mode
        for each in report.of(mode, rooms)
    ]
    if all(row[0] == "builtin" for row in rows):
        return ""
    head = [
        "rooms", "slices", "anchors", "CPU per anchor",
        f"at ffmpeg's {_FFMPEG_WHEN_SET} %", "packets read, of those sent",
        "pictures due / made / late / missing", "picture latency p50 / p99",
        "audio due / made / late / missing",
    ]  # fmt: skip
    return table(head, rows)


def _punctuality(result: Result) -> tuple[str, str, str]:
    pictures, audio = result.pictures, result.audio
    heard = f"{audio.due} / {audio.made} / {audio.late} / {audio.missing}"
    if pictures is None:
        return "-", "-", heard
    seen = f"{pictures.due} / {pictures.made} / {pictures.late} / {pictures.missing}"
    return seen, f"{pictures.p50_ms} / {pictures.p99_ms} ms", heard


def _ratios(report: Report) -> str:
    names = [name for name in NAMES if report.yardstick(name) is not None]
    if not names:
        return ""
    elsewhere = [(NAMES[name], report.yardstick(name)) for name in names]
    rows = [[label, f"{cpu:.2f} %", *("" for _ in elsewhere)] for label, cpu in elsewhere]
    for mode in (Mode.PNG, Mode.JPG):
        for each in report.of(mode):
            ratios = [report.times_less(name, each) for name in names]
            flaw = "" if is_whole(each) else " (overloaded: slices missing)"
            label = f"cloudslice, {mode.value}, {each.anchors} anchors{flaw}"
            cells = ["" if ratio is None else f"{ratio:.1f} x less" for ratio in ratios]
            rows.append([label, f"{each.cpu_per_anchor:.3f} %", *cells])
    return table(["", "CPU per anchor", *(f"than {label}" for label, _ in elsewhere)], rows)


def _goals(report: Report) -> str:
    rows = [
        [goal, wanted, measured, "met" if is_met else "**not met**"]
        for goal, wanted, measured, is_met in judge_goals(report)
    ]
    return table(["goal", "wanted", "measured", ""], rows) if rows else ""


Judged = tuple[str, str, str, bool]
"""What, the goal, what was measured, whether it is met."""


def judge_goals(report: Report) -> Iterable[Judged]:
    """The goals that the results say something about; an overloaded server meets none in CPU."""
    for each in _all(report):
        complete = is_whole(each)
        name = f"all slices made, {each.mode}, {each.anchors} anchors"
        yield name, "none missing", "yes" if complete else "no", complete
    yield from _judge_cpu(report)
    yield from _judge_growth(report)
    for each in _all(report):
        if each.pictures is not None:
            p50, p99 = each.pictures.p50_ms, each.pictures.p99_ms
            yield (
                f"picture latency, {each.mode}, {each.anchors} anchors",
                "p50 < 300 ms, p99 < 1500 ms",
                f"{p50} ms, {p99} ms",
                p50 < 300 and p99 < 1500,
            )


def _judge_cpu(report: Report) -> Iterable[Judged]:
    for mode, limit in ((Mode.PNG, 0.45), (Mode.JPG, 0.30), (Mode.AUDIO, 0.08)):
        for each in report.of(mode):
            cpu = each.cpu_per_anchor
            name = f"{mode.value}, {each.anchors} anchors"
            yield (
                f"CPU, {name}",
                f"≤ {limit:.2f} %",
                f"{cpu:.3f} %",
                cpu <= limit and is_whole(each),
            )
            if "ffmpeg" in each.beside:
                scaled = cpu * _FFMPEG_WHEN_SET / each.beside["ffmpeg"]
                yield (
                    f"the same, at the speed at which ffmpeg takes {_FFMPEG_WHEN_SET} %",
                    f"≤ {limit:.2f} %",
                    f"{scaled:.3f} %",
                    scaled <= limit and is_whole(each),
                )
    for each in report.of(Mode.PNG):
        for name, factor in (("gstreamer", 14), ("ffmpeg-keyframes", 3)):
            ratio = report.times_less(name, each)
            if ratio is not None:
                yield (
                    f"png, {each.anchors} anchors, against {NAMES[name]}",
                    f"{factor} x less",
                    f"{ratio:.1f} x less",
                    ratio >= factor and is_whole(each),
                )


def _judge_growth(report: Report) -> Iterable[Judged]:
    for each in _all(report):
        memory = each.memory_per_anchor_mb
        name = f"memory, {each.mode}, {each.anchors} anchors"
        yield name, "≤ 0.5 MB", f"{memory:.2f} MB", memory <= 0.5
    for mode in Mode:
        by_anchors = {each.anchors: each for each in report.of(mode)}
        few, many = by_anchors.get(20), by_anchors.get(200)
        if few is not None and many is not None and is_whole(few) and is_whole(many):
            cpu = many.cpu_per_anchor / few.cpu_per_anchor
            name = f"growth from 20 to 200 anchors, {mode.value}"
            yield f"{name}, CPU", "≤ 1.1 x", f"{cpu:.2f} x", cpu <= 1.1
            if few.memory_per_anchor_mb > 0:  # else the base shrank by more than the anchors took
                memory = many.memory_per_anchor_mb / few.memory_per_anchor_mb
                yield f"{name}, memory", "≤ 1.1 x", f"{memory:.2f} x", memory <= 1.1


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)
