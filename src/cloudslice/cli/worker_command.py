"""cloudslice worker."""

from pathlib import Path

import click

from cloudslice.cli.common import nats_option, read_settings, settings_option
from cloudslice.cli.running_node import run_node
from cloudslice.cluster.registry import RegistryError
from cloudslice.worker_node import open_worker_node


@click.command("worker")
@settings_option
@nats_option
def worker_command(path: Path, nats_url: str) -> None:
    """Run a node of a cluster that runs tasks, until Ctrl-C or SIGTERM.

    When it ends or dies, other workers go on with its tasks. Its data_dir is its own; what it has
    not delivered is delivered when it is started again with it.
    """
    settings = read_settings(path)
    run_node(settings, open_worker_node(settings, nats_url), (RegistryError,))
