"""How a worker is started, and how it has ended."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cloudslice

_SOCKET_BUFFER = 1 << 20
"""Bytes: a PNG of 1280x720. The kernel gives what net.core.wmem_max allows."""

_START = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from cloudslice.slicing.pictures.worker_main import main; main()"
)


def worker_command() -> list[str]:
    """How a worker is started: by this interpreter, without its environment and start-up files,
    from where this process has its modules."""
    root = str(Path(cloudslice.__file__).resolve().parents[1])
    folders = [os.path.abspath(each) for each in sys.path if each]
    folders += [root] if root not in folders else []
    return [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), *folders]


def start_worker(command: Sequence[str], channel: socket.socket) -> "subprocess.Popen[bytes]":
    """Start a process that has nothing of this one but `channel`, as its standard input, and the
    standard error, which a worker lets go of when it is ready.

    Raises:
        OSError: it cannot be started.
    """
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
    environment = {"OPENBLAS_NUM_THREADS": "1"}  # it would start threads that NumPy has no use for
    if "LD_LIBRARY_PATH" in os.environ:  # the interpreter may need it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    return subprocess.Popen(  # noqa: S603 - the command is ours
        command,
        stdin=channel.fileno(),
        stdout=subprocess.DEVNULL,
        env=environment,
        cwd="/",
        start_new_session=True,
    )


def describe_status(status: int) -> str:
    """How a process has ended, by its exit status as `subprocess` gives it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
