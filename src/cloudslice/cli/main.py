"""The entry point: which commands there are."""

from importlib import import_module

import click

from cloudslice import __version__

_COMMANDS = ("serve", "api", "worker", "publish", "demo", "usersig", "token", "events", "spool")
"""Each is `<name>_command` in a module of that name."""


class _Commands(click.Group):
    """Imports a command when it is needed: a server must not hold the decoders of the publisher."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_COMMANDS, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"cloudslice.cli.{cmd_name}_command")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """cloudslice cuts every anchor of a live room into short Ogg Opus files and pictures, puts them
    into your bucket and tells you by signed webhooks. It speaks Tencent Cloud API 3.0, so that the
    official SDKs work with it by changing their endpoint.

    \b
    See it at work:       cloudslice demo
    Run it:               cloudslice serve --config cloudslice.toml
    Let somebody in:      cloudslice usersig --user anchor_1
    Send a file:          cloudslice publish talk.mp4 --room 150 --user anchor_1
    Look at webhooks:     cloudslice events list --since 1h
    """


@main.command("version")
def version_command() -> None:
    """Print the version."""
    click.echo(f"cloudslice {__version__}")
