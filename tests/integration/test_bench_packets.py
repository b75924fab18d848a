"""The benchmark of the packet path runs; its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "packets.py"


def test_a_tiny_run_reports_every_mode(tmp_path: Path) -> None:
    """As a table, and as JSON with the same lines; no packet is lost on the way."""
    report = tmp_path / "packets.json"
    command = [sys.executable, str(BENCH), "--anchors", "2", "--seconds", "0.5"]
    done = subprocess.run(
        [*command, "--json", str(report)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(report.read_text())["results"]
    assert [each["mode"] for each in results][:3] == [
        "bare recvfrom of the mix",
        "mix, everything decrypted",
        "mix, video unread",
    ]
    assert all(each["us_per_packet"] > 0 for each in results)
    assert all(each["mode"] in done.stdout for each in results)
