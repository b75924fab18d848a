"""How threads share the interpreter; for the entry point of a process that makes pictures."""

import sys

_TURN_S = 0.0002


def take_short_turns() -> None:
    """Let a thread that waits for the interpreter have it after a fifth of a millisecond.

    Making a picture is some calls that do without the interpreter, and a few microseconds of Python
    between them. By default each of those waits for up to 5 ms while the event loop is busy: with
    500 anchors that cost one picture in six (docs/performance.md).
    """
    sys.setswitchinterval(_TURN_S)
