"""The entry point: which commands there are."""

import click

from cloudslice import __version__
from cloudslice.cli.demo import demo_command
from cloudslice.cli.publish import publish_command
from cloudslice.cli.serve import serve_command
from cloudslice.cli.token import token_command
from cloudslice.cli.usersig import usersig_command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """cloudslice cuts every anchor of a live room into short Ogg Opus files and pictures, puts them
    into your bucket and tells you by signed webhooks. It speaks Tencent Cloud API 3.0, so that the
    official SDKs work with it by changing their endpoint.

    \b
    See it at work:       cloudslice demo
    Run it:               cloudslice serve --config cloudslice.toml
    Let somebody in:      cloudslice usersig --user anchor_1
    Send a file:          cloudslice publish talk.mp4 --room 150 --user anchor_1
    """


@click.command("version")
def version_command() -> None:
    """Print the version."""
    click.echo(f"cloudslice {__version__}")


for _command in (
    serve_command,
    demo_command,
    publish_command,
    usersig_command,
    token_command,
    version_command,
):
    main.add_command(_command)
