"""What a stream costs: a real server, real anchors, and other programs that do the same.

Anchors (720p30 H.264 at 1.5 Mbit/s and Opus at 48 kbit/s, by WHIP, DTLS and SRTP) are sent by
processes of their own into rooms of 20, each room with a task: an audio slice every 15 s, a
picture every 5 s. With --rooms the rooms are on a LiveKit server or a Janus, which gets the same
anchors; what that server takes does not count. After a warm-up the server process is measured for a
window. ffmpeg and GStreamer, as far as they are installed (bench/install-yardsticks), get the same
media as plain RTP.

    python bench/streams.py --output results
    python bench/streams.py --anchors 100 --modes jpg --profile profile.txt
    python bench/streams.py --anchors 20 --rooms builtin livekit livekit-always janus
    python bench/streams.py --output all --report results/streams.json more/streams.json

Writes streams.json, streams.md and streams.svg; with --report of earlier results, together.
"""

import argparse
import asyncio
import json
import os
import pickle
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from cloudslice_publisher.encode import VideoSpec
from harness.buckets import KINDS
from harness.measure import Mode, Plan, measure
from harness.plot import draw
from harness.report import Report, Turn, describe_machine, to_markdown
from harness.scene import camera_media
from harness.yardsticks import NAMES, YardstickResult, running_yardsticks
from helpers.room_kinds import KINDS as ROOM_KINDS

_LOOP_S = 10


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("bench-results"), help="directory for the results")
    add("--anchors", type=int, nargs="+", default=[20, 50, 100, 200], metavar="N")
    modes = [each.value for each in Mode]
    add("--modes", nargs="+", choices=modes, default=modes)
    add("--rooms", nargs="+", choices=ROOM_KINDS, default=["builtin"], help="where they are")
    add("--repeat", type=int, default=1, help="how often all is done; medians count")
    add("--bucket", choices=KINDS, default="sink")
    add("--window", type=float, default=45, metavar="S", help="is measured")
    add("--warm-up", type=float, default=15, metavar="S", help="after the last anchor has joined")
    add("--join", type=float, default=15, metavar="S", help="anchors join evenly over so long")
    add("--processes", type=int, default=1, help="that send")
    add("--size", default="1280x720", help="of the video")
    add("--bitrate", type=int, default=1500, help="of the video, in kbit/s")
    add("--yardsticks", nargs="*", choices=list(NAMES), default=list(NAMES))
    add("--yardstick-streams", type=int, default=2, help="processes of each yardstick, at a time")
    add(
        "--beside",
        nargs="*",
        choices=list(NAMES),
        default=["ffmpeg"] if shutil.which("ffmpeg") else [],
        help="yardsticks to run, a process of each, beside each server",
    )
    add("--report", type=Path, nargs="+", help="measure nothing, put these results together")
    add("--profile", type=Path, help="have py-spy record the server, which disturbs the figures")
    return parser.parse_args(arguments)


async def main(options: argparse.Namespace) -> None:
    """Measure all, report as far as it has come."""
    if options.report:
        write(merge(options.report), options.output)
        return
    report = Report(describe_machine(), [])
    with tempfile.TemporaryDirectory(prefix="cloudslice-bench-") as temporary:
        directory = Path(temporary)
        plan = make_plan(options, directory)
        for number in range(options.repeat):
            turn = Turn(os.getloadavg()[0], [], [])
            report.turns.append(turn)
            turn.yardsticks.extend(await _yardsticks(options, plan, directory / f"others{number}"))
            for rooms, mode, anchors in product(
                options.rooms, map(Mode, options.modes), options.anchors
            ):
                place = directory / f"{rooms}-{mode.value}{anchors}-{number}"
                result = await measure(anchors, mode, plan, place, rooms)
                shutil.rmtree(place)
                turn.results.append(result)
                _say(
                    f"{rooms}, {result.mode}, {anchors} anchors: {result.cpu_per_anchor:.3f} % each"
                )
                write(report, options.output)


def merge(paths: Sequence[Path]) -> Report:
    """The turns of several reports, as one of the first's machine."""
    reports = [Report.from_json(json.loads(path.read_text(encoding="utf-8"))) for path in paths]
    return Report(reports[0].machine, [turn for report in reports for turn in report.turns])


def make_plan(options: argparse.Namespace, directory: Path) -> Plan:
    """Encode the media into `directory`, and plan by the options."""
    _say("encoding the media ...")
    width, height = map(int, options.size.split("x"))
    media = camera_media(
        VideoSpec(width=width, height=height, bitrate_kbps=options.bitrate), seconds=_LOOP_S
    )
    both, audio = directory / "media", directory / "audio"
    both.write_bytes(pickle.dumps(media))
    audio.write_bytes(pickle.dumps(replace(media, video=None)))
    return Plan(
        media={Mode.PNG: both, Mode.JPG: both, Mode.AUDIO: audio},
        loop_s=_LOOP_S,
        bucket=options.bucket,
        room_size=20,
        join_s=options.join,
        warm_up_s=options.warm_up,
        window_s=options.window,
        processes=options.processes,
        beside=options.beside,
        profile=options.profile,
    )


def write(report: Report, directory: Path) -> None:
    """Write what there is by now."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report.to_json(), indent=2)
    (directory / "streams.json").write_text(text + "\n", encoding="utf-8")
    (directory / "streams.md").write_text(to_markdown(report), encoding="utf-8")
    (directory / "streams.svg").write_text(draw(report), encoding="utf-8")


async def _yardsticks(
    options: argparse.Namespace, plan: Plan, directory: Path
) -> list[YardstickResult]:
    programs = {name: "gst-launch-1.0" if name == "gstreamer" else "ffmpeg" for name in NAMES}
    names = [name for name in options.yardsticks if shutil.which(programs[name])]
    if not names:
        return []
    async with running_yardsticks(
        names, plan.media[Mode.PNG], directory, streams=options.yardstick_streams
    ) as yardsticks:
        found = await yardsticks.observe(plan.window_s)
    for each in found:
        _say(f"{NAMES[each.name]}: {each.cpu_per_anchor:.2f} % each")
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, too
    asyncio.run(main(parse()))
