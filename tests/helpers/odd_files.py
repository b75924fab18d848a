"""Files that are none: what may stand in the spool under a slice's name."""

import os
import socket
from pathlib import Path

ODD_FILES = ("fifo", "directory", "link", "socket")


def make_odd_file(path: Path, kind: str) -> None:
    """Make one of `ODD_FILES`; the link leads to itself."""
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to(path.name)
        case "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                # By a short name: a socket's path may have 107 bytes.
                directory = os.open(path.parent, os.O_RDONLY)
                listener.bind(f"/proc/self/fd/{directory}/{path.name}")
                os.close(directory)
