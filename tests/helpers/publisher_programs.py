"""Programs that publish by WHIP with WebRTC stacks that nobody here wrote.

A program reads an order from its standard input, in JSON, publishes in real time and leaves by
DELETE. Then it writes to its standard output what it has done, in JSON. The order:

    url, bearer     of the WHIP endpoint
    codec           "H264" or "VP8"
    audio           an IVF file of Opus packets of 20 ms, to be sent in a loop
    video           an IVF file of access units (Annex B) or frames at 30 a second, for a loop, too
    seconds         how long to send

A program with an encoder or a camera of its own needs no files. What it has done:

    audio_packets       of 20 ms each, that were given to the stack
    video_frames        that were
    keyframe_requests   PLI and FIR that came
    stopped_ms          the UTC millisecond at which it stopped sending
    delete_status       of the answer to DELETE; null where the stack does not tell; browsers close
                        the connection first, so that the session may be gone by then (404)

Whatever fails ends the program with a status that is not 0, and the reason in its standard error.
"""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

_INTEROP = Path(__file__).parents[1] / "interop"
_PATIENCE_S = 45
"""For starting, connecting and leaving."""


@dataclass(frozen=True)
class Order:
    """What a program is to publish; see above."""

    url: str
    bearer: str
    codec: str
    audio: str
    video: str
    seconds: float


@dataclass(frozen=True)
class Published:
    """What a program has done; see above."""

    audio_packets: int
    video_frames: int
    keyframe_requests: int
    stopped_ms: int
    delete_status: int | None


@dataclass(frozen=True)
class PublisherProgram:
    """One client.

    Attributes:
        command: the program and its arguments.
        codecs: those that it can send.
        paths: which ways to the node it is tried on: "direct", "relay".
        needs: files and folders without which it cannot run.
        has_own_picture: whether it shows something else than the video file.
        has_pauses: whether its sound is silent now and then.
        ignores_pli: whether it sends key frames only as they come in the file.
    """

    command: tuple[str, ...]
    codecs: tuple[str, ...] = ("H264", "VP8")
    paths: tuple[str, ...] = ("direct", "relay")
    needs: tuple[Path, ...] = ()
    has_own_picture: bool = False
    has_pauses: bool = False
    ignores_pli: bool = False

    @property
    def missing(self) -> str | None:
        """What is not installed here and would be needed; None if all is there."""
        missing = (str(path) for path in self.needs if not path.exists())
        return next(missing, None if shutil.which(self.command[0]) else self.command[0])

    async def publish(self, order: Order) -> Published:
        """Carry out an order.

        Raises:
            AssertionError: the program failed; the text is its standard error.
            TimeoutError: it does not end.
        """
        process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # so that what it has started can be ended, too
        )
        try:
            async with asyncio.timeout(order.seconds + _PATIENCE_S):
                output, errors = await process.communicate(json.dumps(asdict(order)).encode())
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        assert process.returncode == 0, errors.decode(errors="replace")[-4000:]
        return Published(**json.loads(output.splitlines()[-1]))


def _chromium() -> PublisherProgram:
    program = _INTEROP / "chromium" / "publisher.py"
    needs = (Path("/usr/bin/chromium"),)
    command = (sys.executable, str(program))
    # tests/e2e/test_browser.py has it without a relay. Its microphone beeps.
    return PublisherProgram(
        command, paths=("relay",), needs=needs, has_own_picture=True, has_pauses=True
    )


def _ffmpeg(*options: str) -> PublisherProgram:
    program = _INTEROP / "ffmpeg" / "publisher.py"
    command = (sys.executable, str(program), *options)
    return PublisherProgram(command, codecs=("H264",), ignores_pli=True)


def _firefox() -> PublisherProgram:
    program = _INTEROP / "firefox" / "publisher.py"
    command = (sys.executable, str(program))
    needs = (Path("/usr/bin/firefox-esr"),)
    # For H.264 it would download a plugin.
    return PublisherProgram(command, codecs=("VP8",), needs=needs, has_own_picture=True)


def _gstreamer() -> PublisherProgram:
    """By the system's own Python, for which Debian has the bindings."""
    program = _INTEROP / "gstreamer" / "publisher.py"
    needs = (
        Path("/usr/lib/python3/dist-packages/gi/overrides/Gst.py"),
        _library("girepository-1.0/GstWebRTC-1.0.typelib"),
        *(_library(f"gstreamer-1.0/libgst{each}.so") for each in ("nice", "vpx", "opus", "webrtc")),
    )
    return PublisherProgram(("/usr/bin/python3", str(program)), needs=needs)


def _libdatachannel() -> PublisherProgram:
    folder = _INTEROP / "libdatachannel"
    needs = (folder / "node_modules" / "node-datachannel",)
    return PublisherProgram(("node", str(folder / "publisher.js")), needs=needs)


def _pion() -> PublisherProgram:
    program = _INTEROP / "pion" / "target" / "publisher"
    return PublisherProgram((str(program),), needs=(program,))


def _str0m() -> PublisherProgram:
    program = _INTEROP / "str0m" / "target" / "debug" / "publisher"
    return PublisherProgram((str(program),), needs=(program,))


def _library(name: str) -> Path:
    """Where Debian has it, in the folder of the machine's architecture; else a path of nothing."""
    pattern = f"*/{name}"
    return next(Path("/usr/lib").glob(pattern), Path("/usr/lib") / pattern)


PUBLISHERS: Mapping[str, PublisherProgram] = {
    "chromium": _chromium(),
    "ffmpeg": _ffmpeg(),
    "firefox": _firefox(),
    "gstreamer": _gstreamer(),
    "libdatachannel": _libdatachannel(),
    "pion": _pion(),
    "str0m": _str0m(),
}
"""Every client by its name."""

FFMPEG_WITH_ITS_OWN_CERTIFICATE = _ffmpeg("--own-certificate")
