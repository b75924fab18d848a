"""cloudslice api."""

from pathlib import Path

import click

from cloudslice.api_node import open_api_node
from cloudslice.cli.common import nats_option, read_settings, settings_option
from cloudslice.cli.running_node import run_node
from cloudslice.cluster.registry import RegistryError


@click.command("api")
@settings_option
@nats_option
def api_command(path: Path, nats_url: str) -> None:
    """Run a node of a cluster that takes the API's calls, until Ctrl-C or SIGTERM.

    It has neither media nor a data directory: run as many as you like. Tasks are run by nodes that
    `cloudslice worker` starts; docs/scaling.md tells what a cluster can do, and what not yet.
    """
    settings = read_settings(path)
    run_node(settings, open_api_node(settings, nats_url), (RegistryError,))
