"""The packet path's C library keeps to its memory, whatever it is sent."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.build_hook import ROOT, load_build_hook

FLAGS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-g",
    "-O1",
)


@pytest.fixture(scope="module")
def asan() -> Path:
    """The sanitizer's runtime, which must be there before all else that a process loads."""
    compiler = load_build_hook().compiler()
    command = [*compiler, "-print-file-name=libasan.so"]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    if not Path(found).is_absolute():
        pytest.skip(f"{shlex.join(compiler)} has no libasan.so; Debian's gcc has")
    return Path(found)


@pytest.fixture(scope="module")
def tree(asan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of cloudslice with a library that watches itself."""
    tree = tmp_path_factory.mktemp("sanitized")
    ignored = shutil.ignore_patterns("__pycache__", "*.so", ".build-*")
    shutil.copytree(ROOT / "src/cloudslice", tree / "cloudslice", ignore=ignored)
    load_build_hook().compile_into(tree / "cloudslice/webrtc/native", *FLAGS)
    return tree


def run_fuzz(tree: Path, asan: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "helpers.native_fuzz", *arguments],
        env=os.environ
        | {
            "PYTHONPATH": f"{tree}:{ROOT / 'tests'}",
            "PYTHONMALLOC": "malloc",  # so that there are red zones around all that Python gives
            "LD_PRELOAD": str(asan),
            "ASAN_OPTIONS": "detect_leaks=0",
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_datagram_leads_the_library_astray(tree: Path, asan: Path, seed: int) -> None:
    done = run_fuzz(tree, asan, str(seed))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tree))


@pytest.mark.parametrize(
    ("what", "finding"),
    [
        pytest.param("a-datagram", "heap-buffer-overflow", id="of its caller's"),
        pytest.param("a-slot", "use-after-poison", id="in a slot"),
    ],
)
def test_reading_beyond_a_datagram_is_noticed(
    tree: Path, asan: Path, what: str, finding: str
) -> None:
    """Or else the other test would prove nothing."""
    done = run_fuzz(tree, asan, "1", "--beyond", what)
    assert done.returncode != 0
    assert finding in done.stderr
