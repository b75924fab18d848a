"""File systems that are soon full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


def take_all_room(ballast: Path) -> None:
    """Have a file take what room there is on its disk."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


@dataclass(frozen=True)
class SmallDisk:
    """A file system in a mount namespace of its own.

    Attributes:
        path: where it is for this process. SQLite follows no such path.
        inside: where it is for a process in its namespace.
        enter: the beginning of a command that runs a program there.
    """

    path: Path
    inside: Path
    enter: tuple[str, ...]

    @property
    def is_full(self) -> bool:
        """Whether there is no room on it."""
        return os.statvfs(self.path).f_bavail == 0

    def fill(self) -> Path:
        """Take all the room there is, in a file that is returned."""
        ballast = self.path / "ballast"
        take_all_room(ballast)
        assert self.is_full
        return ballast


@contextlib.contextmanager
def small_disk(mount: Path, size_kib: int) -> Iterator[SmallDisk]:
    """A disk of that size; that needs no root. Skips the test where it is forbidden."""
    mount.mkdir()
    program = f'mount -t tmpfs -o size={size_kib}k none "$0" && echo mounted && exec cat'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", program, str(mount)]
    if os.getuid() == 0:
        command[1:3] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if process.stdout.readline() != b"mounted\n":
                pytest.skip("file systems cannot be mounted here")
            user = [] if os.getuid() == 0 else ["--user", "--preserve-credentials"]
            yield SmallDisk(
                Path(f"/proc/{process.pid}/root{mount}"),
                mount,
                ("nsenter", "--target", str(process.pid), "--mount", *user),
            )
        finally:
            process.stdin.close()
