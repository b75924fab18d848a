"""How the commands that serve run a node, and what they say when they cannot."""

import sqlite3
from contextlib import AbstractAsyncContextManager

import uvloop

from cloudslice.cli.common import fail
from cloudslice.cli.serving import ListenError, serve
from cloudslice.config import Settings
from cloudslice.logs import set_up_logging
from cloudslice.node import Node
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


def run_node(
    settings: Settings,
    opened: AbstractAsyncContextManager[Node],
    reasons: tuple[type[Exception], ...] = (),
) -> None:
    """Serve until a signal; exits with a sentence where that is not possible.

    Args:
        settings: of the node.
        opened: the node.
        reasons: errors whose text tells an operator what to mend, besides those of all nodes.
    """
    set_up_logging(settings.log)
    keep_freed_memory()
    take_short_turns()
    collect_rarely()
    allow_many_files()
    try:
        uvloop.run(serve(settings, opened))
    except _REASONS + reasons as error:
        fail(str(error))
    except sqlite3.Error as error:
        # The file is whole, but what is in it is not what this version writes.
        fail(
            f"{settings.data_dir / 'cloudslice.db'}: cannot be used ({error}); put a copy in its "
            "place, or move it away to begin anew (docs/operations.md)"
        )
    except OSError as error:
        fail(f"data_dir = {settings.data_dir}: {error}")
