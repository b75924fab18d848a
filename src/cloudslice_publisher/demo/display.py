"""What the demo shows in the terminal."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import av
import click

_EVENT_NAMES = {
    1001: "robot entered the room",
    1002: "robot left the room",
    1003: "uploads begin",
    1004: "file",
    1005: "all uploads are done",
    1006: "upload failed",
}


class Display:
    """Prints one line for each thing that happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str, *, colour: str | None = None) -> None:
        """A line."""
        elapsed = click.style(f"{time.monotonic() - self._start:6.1f} s", dim=True)
        click.echo(f"{elapsed}  {click.style(text, fg=colour)}")

    def step(self, text: str) -> None:
        """A line that begins a part of the demo."""
        self.say(text, colour="cyan")

    def progress(self, label: str, done: float) -> None:
        """A line that is written over and over; on a terminal only."""
        if sys.stdout.isatty():
            click.echo(f"\r          {label} {done:4.0%}", nl=done >= 1)

    def event(self, event: dict[str, Any], *, is_signed: bool) -> None:
        """A webhook."""
        info = event["EventInfo"]
        kind, payload = event["EventType"], info["Payload"]
        text = f"webhook {kind}  {_EVENT_NAMES.get(kind, '')}"
        if kind == 1004:
            what = "audio" if payload["MediaType"] == 1 else "picture"
            name = Path(payload["FileName"]).name
            text = f"webhook 1004  {what:7}  of {info['StreamUserId']:6} {name}"
        elif kind == 1002:
            text += f" (LeaveCode {payload['LeaveCode']})"
        elif kind == 1006:
            text += f": {payload['Message']}"
        if not is_signed:
            text += "  WITH A WRONG SIGNATURE"
        self.say(text, colour={1004: "green", 1006: "red"}.get(kind, "yellow"))


def describe_tree(root: Path) -> Iterable[str]:
    """The files under `root` as a tree, with sizes, and with their lengths or dimensions."""
    folder = None
    for path in sorted(each for each in root.rglob("*") if each.is_file()):
        relative = path.relative_to(root)
        if relative.parent != folder:
            folder = relative.parent
            yield f"  {folder}/"
        yield f"      {path.name:58} {path.stat().st_size / 1024:7.1f} KiB   {_measure(path)}"


def _measure(path: Path) -> str:
    with av.open(path, "r") as container:
        if container.streams.video:
            picture = container.streams.video[0]
            return f"{picture.width}x{picture.height}"
        samples = sum(frame.samples for frame in container.decode(audio=0))
        return f"{samples / 48000:.3f} s"
