"""The publisher is a package of its own: the service runs without it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names)


def test_only_two_commands_use_it() -> None:
    users = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.glob("cloudslice/**/*.py")
        if any(name.startswith("cloudslice_publisher") for name in imported(path))
    }
    assert users == {"cloudslice/cli/publish_command.py", "cloudslice/cli/demo_command.py"}


def test_it_uses_what_transports_share() -> None:
    """Nothing of rooms, slicing or delivery. The demo has a server for its webhooks besides."""
    used = {
        (path.parent.name, name.split(".")[1])
        for path in SOURCES.glob("cloudslice_publisher/**/*.py")
        for name in imported(path)
        if name.startswith("cloudslice.")
    }
    shared = {"webrtc", "media", "codecs", "ids", "clock", "identity"}
    assert {each for each in used if each[1] not in shared} <= {("demo", "http_server")}


@pytest.mark.parametrize("module", ["cloudslice.cli.main", "cloudslice.node"])
def test_the_service_does_not_load_it(module: str) -> None:
    """The commands load it when they are called, not when the command line is set up."""
    loaded = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert module in loaded
    assert not [name for name in loaded if name.startswith("cloudslice_publisher")]
