"""cloudslice spool."""

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from cloudslice.cli.common import fail, read_settings, settings_option
from cloudslice.control_socket import ADOPT, ControlError, ask
from cloudslice.slicing.audio.ogg_repair import repair_ogg
from cloudslice.spool.inspection import UNFINISHED, Inspected, inspect, inspect_all


@click.group("spool")
def spool_command() -> None:
    """Look into a spool or its quarantine, and take files out of it; have one adopted.

    `list` and `extract` change nothing in it; the service may run meanwhile.
    """


@spool_command.command("list")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def list_command(directory: Path) -> None:
    """List the slices in DIRECTORY and below: state, bytes, start, task, anchor, object and file,
    separated by tabs.

    The state is "whole", "unfinished" (it grows, or was cut off) or "damaged", with the reason.
    """
    for each in inspect_all(directory):
        origin = each.origin
        fields = (
            _state(each),
            str(len(each.content)),
            each.start or "?",
            origin.task_id if origin else "?",
            origin.user_id if origin else "?",
            each.object_key or "?",
            str(each.path),
        )
        click.echo("\t".join(fields))


@spool_command.command("extract")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="The directory to write to; made if it is not there.",
)
def extract_command(files: tuple[Path, ...], output: Path) -> None:
    """Write what FILES hold into a directory, under the names of their objects.

    Of a damaged file, what is there; audio that was cut off is made a valid file. No file is
    replaced. Exits with 1 if a file was damaged or could not be read.
    """
    output.mkdir(parents=True, exist_ok=True)
    has_failed = False
    for path in files:
        try:
            found = inspect(path)
            target = _write(found, output)
        except OSError as error:
            click.echo(f"{path}: {error.strerror}", err=True)
            has_failed = True
            continue
        click.echo(target)
        if found.fault:
            click.echo(f"{path}: {found.fault}", err=True)
            has_failed = True
    raise SystemExit(int(has_failed))


@spool_command.command("adopt")
@click.argument("directory", type=click.Path(path_type=Path))
@settings_option
def adopt_command(directory: Path, path: Path) -> None:
    """Have the running node deliver what the spool in DIRECTORY holds, whose node is gone.

    DIRECTORY is the data_dir of that node, or a copy of it: its disk, mounted on this machine. The
    node that runs with the settings of --config moves its slices into its own spool, completes
    those that grew, uploads them under the names that they have, and tells of them. What is
    missing when it ends in between is done when it is asked again.
    """
    try:
        click.echo(ask(read_settings(path).data_dir, ADOPT, str(directory.absolute())))
    except ControlError as error:
        fail(str(error))


def _state(found: Inspected) -> str:
    if found.fault == UNFINISHED:
        return "unfinished"
    return f"damaged: {found.fault}" if found.fault else "whole"


def _write(found: Inspected, output: Path) -> Path:
    content = found.content
    if found.fault and found.file_name.endswith(".ogg"):
        with suppress(ValueError):
            repaired = repair_ogg(content)
            content = content if repaired is None else repaired.content
    for path in _free_paths(output / found.file_name):
        with suppress(FileExistsError), path.open("xb") as file:
            file.write(content)
            return path
    raise AssertionError  # there is no end of names


def _free_paths(path: Path) -> Iterator[Path]:
    yield path
    for number in itertools.count(2):
        yield path.with_stem(f"{path.stem}.{number}")
