"""cloudslice serve."""

from pathlib import Path

import click

from cloudslice.cli.common import read_settings, settings_option
from cloudslice.cli.running_node import run_node
from cloudslice.node import open_node


@click.command("serve")
@settings_option
def serve_command(path: Path) -> None:
    """Run the service: API, WHIP and media in one process, until Ctrl-C or SIGTERM.

    On a stop, open slices are closed and kept. Tasks go on, and what was not delivered is
    delivered, when it is started again with the same data_dir.
    """
    settings = read_settings(path)
    run_node(settings, open_node(settings))
