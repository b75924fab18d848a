"""The results as one picture (SVG): CPU for each anchor, against others and as rooms grow."""

from collections.abc import Iterable, Sequence
from html import escape

from harness.measure import Mode
from harness.report import Report, is_whole
from harness.yardsticks import NAMES

_WIDTH, _HEIGHT = 920, 400
_COLOURS = {Mode.PNG: "#2563eb", Mode.JPG: "#0d9488", Mode.AUDIO: "#d97706"}
_LABELS = {Mode.PNG: "PNG + audio", Mode.JPG: "JPG + audio", Mode.AUDIO: "audio only"}
_OTHERS = "#9ca3af"
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #374151 }
  .title { font-weight: 600; font-size: 15px; fill: #111827 }
  .small { font-size: 12px; fill: #6b7280 }
  .number { font-weight: 600 }
"""


def draw(report: Report) -> str:
    """Bars on the left, lines by the number of anchors on the right."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        *_bars(_bar_values(report), left=24, width=430),
        *_lines(report, left=520, width=360),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bar_values(report: Report) -> list[tuple[str, float, str]]:
    others = [(label, report.yardstick(name), _OTHERS) for name, label in NAMES.items()]
    values = [(label, cpu, colour) for label, cpu, colour in others if cpu is not None]
    for mode in Mode:
        results = [each for each in report.of(mode) if is_whole(each)]
        if results:
            most = results[-1]
            label = f"cloudslice, {_LABELS[mode]}, {most.anchors} anchors"
            values.append((label, most.cpu_per_anchor, _COLOURS[mode]))
    return sorted(values, key=lambda each: -each[1])


def _bars(values: Sequence[tuple[str, float, str]], *, left: int, width: int) -> Iterable[str]:
    yield _text(left, 34, "CPU per anchor, % of a core", "title")
    yield _text(left, 54, "720p30 H.264, 1.5 Mbit/s, and Opus; a picture every 5 s", "small")
    largest = max((cpu for _, cpu, _ in values), default=1)
    for index, (label, cpu, colour) in enumerate(values):
        top = 76 + index * 50
        length = max(2.0, cpu / largest * (width - 60))
        yield _text(left, top + 10, label)
        yield f'<rect x="{left}" y="{top + 17}" width="{length:.1f}" height="16" fill="{colour}"/>'
        yield _text(left + length + 8, top + 30, f"{cpu:.2f}", "number")


def _lines(report: Report, *, left: int, width: int) -> Iterable[str]:
    top, height = 76, 240
    yield _text(left, 34, "Flat as rooms grow", "title")
    yield _text(left, 54, "CPU per anchor, % of a core, by the number of anchors", "small")
    series = [
        (mode, group)
        for mode in Mode
        if (group := [each for each in report.of(mode) if is_whole(each)])
    ]
    shown = [each for _, group in series for each in group]
    most = max((each.anchors for each in shown), default=1)
    highest = max((each.cpu_per_anchor for each in shown), default=1)
    step = next(step for step in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10) if highest / step <= 6)
    ceiling = (int(highest / step) + 1) * step

    def place(anchors: int, cpu: float) -> tuple[float, float]:
        return left + 40 + anchors / most * (width - 60), top + height * (1 - cpu / ceiling)

    for number in range(round(ceiling / step) + 1):
        _, y = place(0, number * step)
        yield f'<path d="M{left + 40} {y:.1f}H{left + width}" stroke="#e5e7eb"/>'
        yield _text(left, y + 4, f"{number * step:.2f}", "small")
    for anchors in sorted({each.anchors for each in shown}):
        x, y = place(anchors, 0)
        yield _text(x - 4 * len(str(anchors)), y + 20, str(anchors), "small")
    for mode, group in series:
        points = [place(each.anchors, each.cpu_per_anchor) for each in group]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = _COLOURS[mode]
        line = f'stroke="{colour}" stroke-width="2.5"'
        dot = f'stroke="{colour}" stroke-width="2" fill="{colour}"'
        yield f'<polyline points="{path}" fill="none" {line}/>'
        yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {dot}/>' for x, y in points)
    for index, mode in enumerate(dict.fromkeys(mode for mode, _ in series)):
        colour = _COLOURS[mode]
        x = left + 40 + index * 110
        yield f'<rect x="{x}" y="{top + height + 38}" width="12" height="12" fill="{colour}"/>'
        yield _text(x + 18, top + height + 49, _LABELS[mode])


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    of_class = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{of_class}>{escape(text)}</text>'
