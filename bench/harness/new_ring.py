"""Makes a `Ring` for other processes to open."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.ring import LIBRARY, RING_BYTES
from helpers.build_hook import load_build_hook


@contextmanager
def new_ring() -> Iterator[Path]:
    """An empty ring's file, which is never on a disk; its library is compiled beside this module
    for whoever opens it."""
    hook = load_build_hook()
    folder = LIBRARY.parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=".build-") as build:
        library = hook.compile_into(Path(build), f"-I{hook.SOURCES}", sources=folder)
        library.replace(LIBRARY)
    descriptor, path = tempfile.mkstemp(prefix="cloudslice-bench-", dir="/dev/shm")
    try:
        os.truncate(descriptor, RING_BYTES)
        os.close(descriptor)
        yield Path(path)
    finally:
        os.unlink(path)
