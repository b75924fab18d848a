"""Programs that call the API by the official clients, each in its own language.

A program reads orders from its standard input, one a line, in JSON: `settings` (how to set up the
client), `action` and `parameters`. To each it answers with a line of what the client made of it:
`outputs` and `request_id`, or `code`, `message` and `request_id` of the client's own exception.
A failure that is not the client's exception ends the program.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Order = Mapping[str, Any]

_TESTS = Path(__file__).parents[1]
_INTERNATIONAL_SDK = Path(sys.prefix) / "intl"
_TCCLI = Path(sys.executable).with_name("tccli")


@dataclass(frozen=True)
class Result:
    """What a client made of an answer: outputs, or its own exception's code and message."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    message: str = ""
    request_id: str | None = ""


class ClientProgram(Protocol):
    """Something that carries out orders by an official client."""

    @property
    def missing(self) -> str | None:
        """What is not installed here and would be needed; None if all is there."""
        ...

    def call(self, order: Order) -> Result:
        """Carry out an order; blocking, from any thread."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class LineProgram:
    """A program in the protocol above; started by its first order and kept for the others.

    Args:
        command: the program and its arguments.
        needs: files and folders without which it cannot run.
        environment: what it has beside our own.
    """

    def __init__(
        self,
        *command: str,
        needs: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._needs = needs
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    @property
    def missing(self) -> str | None:
        if not shutil.which(self._command[0]):
            return self._command[0]
        return next((str(path) for path in self._needs if not path.exists()), None)

    def call(self, order: Order) -> Result:
        with self._lock:
            process = self._process = self._process or self._start()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        assert line, f"{self._command[0]} has ended: see its standard error"
        return Result(**json.loads(line))

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its standard input, which ends it

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class Tccli:
    """The vendor's command line: a process for each call, with a home of its own."""

    missing = None if _TCCLI.exists() else str(_TCCLI)

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="tccli-")

    def call(self, order: Order) -> Result:
        settings = order["settings"]
        given = [
            text
            for name, value in order["parameters"].items()
            for text in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
        ]
        token = ("--token", settings["token"]) if settings["token"] else ()
        process = subprocess.run(
            [
                str(_TCCLI),
                *("trtc", order["action"], "--version", "2019-07-22"),
                *("--region", settings["region"], "--language", settings["language"]),
                *("--endpoint", f"http://{settings['endpoint']}"),
                *("--secretId", settings["secret_id"], "--secretKey", settings["secret_key"]),
                *token,
                *given,
            ],
            env={"HOME": self._home.name, "PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if process.returncode == 0:
            return Result(outputs=json.loads(process.stdout))
        code = process.stdout.partition("code:")[2].partition(" ")[0]
        return Result(code=code, message=process.stdout)

    def close(self) -> None:
        self._home.cleanup()


def all_programs() -> dict[str, ClientProgram]:
    """Every client by its name; none is started yet."""
    return {
        "python": _python(_TESTS),
        "python-intl": _python(_INTERNATIONAL_SDK, _TESTS),
        "tccli": Tccli(),
        "nodejs": _nodejs("cn", "tencentcloud-sdk-nodejs"),
        "nodejs-intl": _nodejs("intl", "tencentcloud-sdk-nodejs-intl-en"),
        "java": _java(),
        "go": _go("common"),
        "go-typed": _go("typed"),
    }


def _python(*path: Path) -> LineProgram:
    environment = {"PYTHONPATH": os.pathsep.join(map(str, path))}
    command = (sys.executable, "-m", "helpers.sdk_program")
    return LineProgram(*command, needs=path, environment=environment)


def _nodejs(sdk: str, package: str) -> LineProgram:
    folder = _TESTS / "node"
    needs = [folder / "node_modules" / package]
    return LineProgram("node", str(folder / "client.js"), sdk, needs=needs)


def _java() -> LineProgram:
    folder = _TESTS / "java"
    jars = folder / "target" / "dependency"
    return LineProgram("java", "-cp", f"{jars}/*", str(folder / "Client.java"), needs=[jars])


def _go(requests: str) -> LineProgram:
    program = _TESTS / "go" / "target" / "client"
    return LineProgram(str(program), requests, needs=[program])
