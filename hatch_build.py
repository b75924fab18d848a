"""Compiles the C library of the packet path whenever cloudslice is built or installed.

A hook of hatchling, not an extension module: the library has nothing of Python in it, so one
wheel serves every version. A machine without a C compiler gets one for the build, in a package.

    python hatch_build.py                # compiles the library, beside its sources
    python hatch_build.py lint           # compiles it with all warnings, for them only
    python hatch_build.py requirements   # prints the packages a build needs on this machine
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
SOURCES = ROOT / "src/cloudslice/webrtc/native"
LIBRARY = SOURCES / "packets.so"

FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-D_GNU_SOURCE")
WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror")
OLDEST_GLIBC = "2.28"
"""Of Debian 10 and RHEL 8. Clang would else take this machine's, which helps nobody."""

ADVICE = (
    "cloudslice needs its C library. If this machine's C compiler does not work, install one"
    " (on Debian: apt-get install build-essential), or set CC to the command of another."
)


class BuildError(Exception):
    """The library cannot be made; the text says what to do."""


class LibraryHook(BuildHookInterface[Any]):
    """Has hatchling compile the library before it makes a wheel or an editable install."""

    def dependencies(self) -> list[str]:
        """The packages that a build environment needs besides hatchling."""
        return requirements()

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the library; the wheel is for this platform and any Python."""
        try:
            build()
        except BuildError as error:
            self.app.abort(str(error))
        build_data["pure_python"] = False
        build_data["tag"] = wheel_tag()


def requirements() -> list[str]:
    """What brings a compiler from the package index; nothing where the machine has one."""
    if os.environ.get("CC") or has_working_cc():
        return []
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return list(groups["compiler"])


def has_working_cc() -> bool:
    """Whether `cc` can make a library; a gcc without the C library's headers cannot."""
    with TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text("#include <sys/socket.h>\n")
        command = ["cc", *FLAGS, str(probe), "-o", str(probe.with_suffix(".so"))]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def compiler() -> list[str]:
    """The command that compiles C here: $CC, else a `cc` that works, else ziglang's clang."""
    if chosen := os.environ.get("CC"):
        return shlex.split(chosen)
    if has_working_cc():
        return ["cc"]
    target = str(sysconfig.get_config_var("MULTIARCH"))
    if target.endswith("-gnu"):
        target += f".{OLDEST_GLIBC}"
    # Without -g0 it would put the paths of this machine into the library.
    return [sys.executable, "-m", "ziglang", "cc", "-target", target, "-g0"]


def compile_into(folder: Path, *flags: str, sources: Path = SOURCES) -> Path:
    """Compile the sources in a folder to a library in `folder`; the compiler's own words go to
    stderr.

    Raises:
        BuildError: this is not Linux, or the compiler failed or is not there.
    """
    if sys.platform != "linux":
        raise BuildError(f"cloudslice runs on Linux only, this is {sys.platform}")
    library = folder / LIBRARY.name
    files = sorted(str(each.relative_to(ROOT)) for each in sources.glob("*.c"))
    command = [*compiler(), *FLAGS, *flags, *files, "-o", str(library)]
    # Zig's cache is of use to this build only, and there may be no home directory for it.
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(folder), **os.environ}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    except OSError as error:
        raise BuildError(f"The compiler does not start: {error}\n\n{ADVICE}") from error
    if done.returncode != 0:
        raise BuildError(f"This failed:\n\n    {shlex.join(command)}\n\n{ADVICE}")
    return library


def build() -> None:
    """Put a new library in the old one's place; a server that runs keeps the one it has loaded."""
    with TemporaryDirectory(dir=SOURCES, prefix=".build-") as folder:
        compile_into(Path(folder)).replace(LIBRARY)


def lint() -> None:
    """Have the compiler refuse whatever it finds doubtful in the sources."""
    with TemporaryDirectory() as folder:
        compile_into(Path(folder), *WARNINGS)


def wheel_tag() -> str:
    """Of this platform as it is: what other C libraries this one may run with, nobody checked."""
    return f"py3-none-{sysconfig.get_platform().replace('-', '_')}"


def main(arguments: list[str]) -> None:
    """Do what the module's docstring says."""
    match arguments:
        case []:
            build()
        case ["lint"]:
            lint()
        case ["requirements"]:
            sys.stdout.writelines(f"{each}\n" for each in requirements())
        case _:
            raise BuildError(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BuildError as error:
        sys.exit(str(error))
