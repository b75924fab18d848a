"""That the benchmarks still run; their figures mean nothing at this size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"


def _run(script: str, *arguments: str) -> None:
    subprocess.run([sys.executable, str(BENCH / script), *arguments], check=True, timeout=110)


def test_streams_are_measured_beside_a_yardstick(tmp_path: Path) -> None:
    _run(
        "streams.py", "--output", str(tmp_path), "--anchors", "2", "--modes", "jpg",
        "--size", "320x180", "--bitrate", "200", "--join", "0", "--warm-up", "2", "--window", "16",
        "--yardsticks", "ffmpeg", "--yardstick-streams", "1",
    )  # fmt: skip
    [turn] = json.loads((tmp_path / "streams.json").read_text())["turns"]
    [result] = turn["results"]
    assert result["pictures"]["due"] in {6, 7, 8}  # a picture every 5 s, of 2 anchors
    assert result["audio"]["due"] in {2, 3, 4}
    assert result["pictures"]["missing"] == result["audio"]["missing"] == 0
    assert result["packets_dropped"] == result["rejoined"] == 0
    assert result["cpu_per_anchor"] > 0
    assert result["packets_per_s"] > 2 * 80  # Opus at 50 a second, video at 30 or more
    [yardstick] = turn["yardsticks"]
    assert yardstick["pictures_made"] >= 1
    assert "cloudslice, jpg, 2 anchors" in (tmp_path / "streams.md").read_text()
    assert (tmp_path / "streams.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        pytest.param("images.py", ["--pictures", "2", "--size", "320x180"], id="images"),
        pytest.param(
            "delivery.py",
            [
                "--modes",
                "audio",
                "--seconds",
                "1",
                "--turns",
                "1",
                "--flushes",
                "5",
                "--starts",
                "2:2",
            ],
            id="delivery",
        ),
    ],
)
def test_a_hot_path_is_measured_alone(script: str, arguments: list[str], tmp_path: Path) -> None:
    _run(script, *arguments, "--json", str(tmp_path / "results.json"))
    report = json.loads((tmp_path / "results.json").read_text())
    assert report["machine"]["python"]
    assert report["results"]
