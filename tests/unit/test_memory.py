"""That large blocks are used again instead of fetched from the kernel anew."""

import subprocess
import sys

import pytest

_PROBE = """
import resource, threading
from cloudslice.process import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(20):
        blocks = [bytearray(1 << 20) for _ in range(4)]
        del blocks
    found.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

found = []
kept = {}
for _ in range(2):
    thread = threading.Thread(target=faults)
    thread.start()
    thread.join()
print(kept, *found)
"""


def _faults(kept: bool) -> int:
    """Page faults of a thread, warmed up, that takes and frees 4 MB twenty times."""
    probe = _PROBE.format("keep_freed_memory()" if kept else "True")
    output = subprocess.run(
        [sys.executable, "-c", probe], check=True, capture_output=True, text=True
    ).stdout.split()
    if output[0] == "False":
        pytest.skip("the C library is not glibc")
    return int(output[2])


def test_large_blocks_cost_no_page_faults_again() -> None:
    assert _faults(kept=True) < 1200 < _faults(kept=False)
