"""cloudslice demo. What it needs is loaded by the command only: the service does not need it."""

import asyncio
from pathlib import Path

import click
import uvloop

from cloudslice.cli.common import fail


@click.command("demo")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data/demo"),
    show_default=True,
    help="Where settings, data and buckets go; an older demo's are replaced.",
)
@click.option("--seconds", type=click.IntRange(min=10), default=35, show_default=True)
def demo_command(directory: Path, seconds: int) -> None:
    """Show the whole thing at work, in about a minute.

    Starts a server with buckets in a directory, lets two anchors publish into a room by WebRTC,
    creates a slicing task with the official SDK, and shows each webhook as it comes in. In the end
    it shows what is in the bucket. Ctrl-C ends it at any time.
    """
    from cloudslice_publisher.demo.run import DemoError, run_demo

    try:
        uvloop.run(run_demo(directory, seconds))
    except DemoError as error:
        fail(str(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("\nThe demo was ended; nothing of it is left running.")
