"""cloudslice serve."""

import sqlite3
from pathlib import Path

import click
import uvloop

from cloudslice.cli.common import fail, read_settings, settings_option
from cloudslice.cli.serving import ListenError, serve
from cloudslice.logs import set_up_logging
from cloudslice.process import (
    allow_many_files,
    collect_rarely,
    keep_freed_memory,
    take_short_turns,
)
from cloudslice.secrets import SecretKeyError
from cloudslice.settings.mistakes import SettingsError
from cloudslice.sqlite_file import DatabaseError
from cloudslice.tasks.store import StoreError
from cloudslice.webrtc.udp.sockets import PortInUseError

_REASONS = (
    SettingsError,
    DatabaseError,
    StoreError,
    SecretKeyError,
    PortInUseError,
    ListenError,
)
"""Why it may be unable to start, for the operator to mend."""


@click.command("serve")
@settings_option
def serve_command(path: Path) -> None:
    """Run the service: API, WHIP and media in one process, until Ctrl-C or SIGTERM.

    On a stop, open slices are closed and kept. Tasks go on, and what was not delivered is
    delivered, when it is started again with the same data_dir.
    """
    settings = read_settings(path)
    set_up_logging(settings.log)
    keep_freed_memory()
    take_short_turns()
    collect_rarely()
    allow_many_files()
    try:
        uvloop.run(serve(settings))
    except _REASONS as error:
        fail(str(error))
    except sqlite3.Error as error:
        # The file is whole, but what is in it is not what this version writes.
        fail(
            f"{settings.data_dir / 'cloudslice.db'}: cannot be used ({error}); put a copy in its "
            "place, or move it away to begin anew (docs/operations.md)"
        )
    except OSError as error:
        fail(f"data_dir = {settings.data_dir}: {error}")
