"""TaskIds: opaque, but of the shape that clients have seen (docs/wire.md, 7.2)."""

import base64
import secrets

_RANDOM_BYTES = 55
_ALPHABET = str.maketrans("/=", "-.")


def new_task_id() -> str:
    """76 characters of ``A-Za-z0-9+-.``, never with a leading ``-``, which tccli takes for an
    option."""
    while (text := _random_text()).startswith("-"):
        pass
    return text


def _random_text() -> str:
    return base64.b64encode(secrets.token_bytes(_RANDOM_BYTES)).decode().translate(_ALPHABET)
