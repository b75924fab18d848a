"""Building cloudslice: what a wheel and an sdist hold, and what compiles the C library."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from helpers.build_hook import ROOT, load_build_hook

LIBRARY = "cloudslice/webrtc/native/packets.so"
OLD_LIBRARY = b"compiled from older sources"


@pytest.fixture(scope="module", autouse=True)
def _one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where ziglang compiles, it takes seconds to fill its cache: once is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path_factory.mktemp("zig")))
        yield


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source tree as somebody has it who just pulled: with the last one's library."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", ".build-*")
    shutil.copytree(ROOT / "src", tree / "src", ignore=ignored)
    (tree / "src" / LIBRARY).write_bytes(OLD_LIBRARY)
    return tree


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tree, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture
def hook() -> ModuleType:
    """The build hook as a module, as hatchling loads it."""
    return load_build_hook()


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are looked for, still empty; CC is not set."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CC", raising=False)
    return folder


def run_hatchling(
    tree: Path, target: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", folder],
        cwd=tree,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def build(tree: Path, target: str, folder: Path) -> Path:
    done = run_hatchling(tree, target, folder)
    assert done.returncode == 0, done.stdout
    [made] = folder.iterdir()
    return made


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def add_cc(path: Path, *, exit_status: int) -> None:
    (path / "cc").write_text(f"#!/bin/sh\nexit {exit_status}\n")
    (path / "cc").chmod(0o755)


def test_a_wheel_is_for_this_platform_and_any_python(wheel: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_")
    assert wheel.name.endswith(f"-py3-none-{platform}.whl")
    [metadata] = [name for name in names_in(wheel) if name.endswith(".dist-info/WHEEL")]
    assert b"Root-Is-Purelib: false" in zipfile.ZipFile(wheel).read(metadata)


def test_a_wheel_has_the_library_and_not_its_sources(wheel: Path) -> None:
    names = names_in(wheel)
    assert LIBRARY in names
    assert not [name for name in names if name.endswith((".c", ".h"))]


def test_a_wheel_has_the_publisher_beside_the_service(wheel: Path) -> None:
    """Both packages, and nothing besides them and what describes them."""
    names = names_in(wheel)
    assert {"cloudslice/node.py", "cloudslice_publisher/publisher.py"} <= set(names)
    assert "cloudslice_publisher/demo/run.py" in names
    folders = {name.partition("/")[0] for name in names}
    assert {each for each in folders if not each.endswith(".dist-info")} == {
        "cloudslice",
        "cloudslice_publisher",
    }


def test_a_picture_process_starts_from_a_wheel(wheel: Path, tmp_path: Path) -> None:
    """Though it gets none of the environment that says where the wheel is."""
    shutil.unpack_archive(wheel, tmp_path, "zip")
    code = """
import asyncio
from cloudslice.codecs.vp8 import VP8
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.pool import PicturePool
async def main():
    with PicturePool(1) as pool:
        made = asyncio.get_running_loop().create_future()
        pool.encode(Keyframe(VP8.decoding, b"junk", 0.0, 0), ImageFormat.PNG, made.set_result)
        print(repr(await made))
        arguments = open(f"/proc/{pool.process_ids[0]}/cmdline").read().split("\\0")
        print(arguments[6])
asyncio.run(main())
"""
    result, first_folder = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert result.startswith("UndecodableKeyframeError")
    assert first_folder == str(tmp_path)


def test_the_library_in_a_wheel_loads(wheel: Path, tmp_path: Path) -> None:
    """Loading compares the library's structures with those in the Python code beside it."""
    shutil.unpack_archive(wheel, tmp_path, "zip")
    loaded = subprocess.run(
        [sys.executable, "-c", "import cloudslice.webrtc.native as it; print(it.__file__)"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert Path(loaded.strip()) == (tmp_path / LIBRARY).with_name("__init__.py")


def test_an_sdist_has_the_sources_and_no_library(tree: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    sources = {str(each.relative_to(tree)) for each in tree.rglob("native/*.[ch]")}
    assert sources
    assert sources | {"hatch_build.py"} <= set(names)
    assert not [name for name in names if name.endswith(".so")]


def test_a_wheel_can_be_made_of_an_sdist(sdist: Path, tmp_path: Path) -> None:
    # By tar: Python 3.12 warns unless there is a filter, and not every 3.11 knows of filters.
    subprocess.run(["tar", "xf", sdist, "-C", tmp_path], check=True)
    [unpacked] = tmp_path.iterdir()
    assert LIBRARY in names_in(build(unpacked, "wheel", tmp_path / "wheel"))


def test_an_editable_install_compiles_beside_the_sources(tree: Path, tmp_path: Path) -> None:
    (tree / "src" / LIBRARY).write_bytes(OLD_LIBRARY)
    wheel = build(tree, "wheel:editable", tmp_path / "wheel")
    assert (tree / "src" / LIBRARY).read_bytes() != OLD_LIBRARY
    assert LIBRARY not in names_in(wheel)


def test_a_new_library_leaves_the_old_file_to_those_who_have_it_open(
    tree: Path, tmp_path: Path
) -> None:
    (tree / "src" / LIBRARY).write_bytes(OLD_LIBRARY)
    with (tree / "src" / LIBRARY).open("rb") as opened:
        build(tree, "wheel:editable", tmp_path / "wheel")
        assert opened.read() == OLD_LIBRARY


@pytest.mark.parametrize(
    ("compiler", "complaint"),
    [
        ("/bin/false --flag", "This failed:\n\n    /bin/false --flag -std=c11 "),
        ("/no/such/cc", "The compiler does not start: [Errno 2] No such file or directory"),
    ],
    ids=["fails", "is not there"],
)
def test_a_compiler_that_fails_stops_the_build_and_the_message_helps(
    compiler: str, complaint: str, tree: Path, tmp_path: Path
) -> None:
    (tree / "src" / LIBRARY).write_bytes(OLD_LIBRARY)
    done = run_hatchling(tree, "wheel", tmp_path / "wheel", CC=compiler)
    assert done.returncode != 0
    assert complaint in done.stdout
    assert "apt-get install build-essential" in done.stdout
    assert "Traceback" not in done.stdout
    assert (tree / "src" / LIBRARY).read_bytes() == OLD_LIBRARY
    assert not [*(tree / "src").rglob(".build-*")]


def test_a_machine_without_cc_gets_a_compiler_as_a_package(hook: ModuleType, path: Path) -> None:
    assert [each.partition(">")[0] for each in hook.requirements()] == ["ziglang"]
    assert hook.compiler()[:4] == [sys.executable, "-m", "ziglang", "cc"]


def test_a_cc_that_cannot_compile_is_as_none(hook: ModuleType, path: Path) -> None:
    add_cc(path, exit_status=1)
    assert hook.requirements()
    assert "ziglang" in hook.compiler()


def test_a_cc_that_works_is_taken(hook: ModuleType, path: Path) -> None:
    add_cc(path, exit_status=0)
    assert hook.requirements() == []
    assert hook.compiler() == ["cc"]


def test_the_compiler_that_is_named_is_taken_whatever_else_there_is(
    hook: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_cc(path, exit_status=0)
    monkeypatch.setenv("CC", "ccache 'my cc'")
    assert hook.requirements() == []
    assert hook.compiler() == ["ccache", "my cc"]


def test_build_environments_are_told_of_the_compiler(tree: Path, path: Path) -> None:
    """What pip asks before it builds."""
    asked = subprocess.run(
        [
            sys.executable,
            "-c",
            "import hatchling.build as it; print(*it.get_requires_for_build_wheel())",
        ],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert asked.startswith("ziglang")


def test_no_other_system_than_linux_is_tried(
    hook: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(hook.BuildError, match="runs on Linux only, this is darwin"):
        hook.compile_into(tmp_path)
