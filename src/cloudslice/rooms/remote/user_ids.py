"""UserIds for members whom another server calls by a text that is no UserId of ours.

A UserId stands in object keys and events, and has 1 to 32 letters, digits, ``_`` or ``-``. An
identity that is one stays as it is. Any other one becomes a readable beginning, two dashes, and 16
characters of its SHA-256::

    alice@example.com  ->  alice_example--76gzqgp4byjl6dje
    张伟               ->  id--uoqlv7il53ke3e2r

1. It is a pure function: the same identity has the same UserId on every machine, after any restart.
2. An identity that looks like such a UserId becomes another one: nobody takes another's by name.
3. The 80 bits of the hash keep apart by accident: among a million identities, two have the same
   UserId with a probability of 4e-13 (n^2 / 2^81). Who makes both identities himself needs some
   2^40 hashes for two that collide, and 2^80 for one that collides with somebody else's.
"""

import base64
import hashlib
import re
import unicodedata

from cloudslice.ids import is_user_id

_HASH_CHARS = 16
_MARK = "--"
_BEGINNING_CHARS = 32 - len(_MARK) - _HASH_CHARS
_MAPPED = re.compile(rf".*{_MARK}[a-z2-7]{{{_HASH_CHARS}}}", re.ASCII)
_UNREADABLE = re.compile(r"[^A-Za-z0-9]+", re.ASCII)
_TOLD_BYTES = 256
"""The longest identity that a LiveKit server takes, unless it is told otherwise."""


def to_user_id(identity: str) -> str:
    """The UserId of the member that another server calls `identity`."""
    return identity if is_kept(identity) else make_user_id(identity)


def is_kept(identity: str) -> bool:
    """Whether an identity is a UserId that cannot be mistaken for a made one."""
    return is_user_id(identity) and _MAPPED.fullmatch(identity) is None


def make_user_id(identity: str) -> str:
    """The UserId that stands for an identity which is not to be kept as it is."""
    digest = hashlib.sha256(identity.encode(errors="surrogatepass")).digest()
    mark = base64.b32encode(digest)[:_HASH_CHARS].decode().lower()
    return f"{_make_beginning(identity)}{_MARK}{mark}"


def identity_to_tell(identity: str, user_id: str) -> str:
    """What events and metadata tell of an identity besides the UserId: nothing if they are equal,
    else valid text of at most 256 bytes."""
    if identity == user_id:
        return ""
    return identity.encode(errors="replace")[:_TOLD_BYTES].decode(errors="ignore")


def _make_beginning(identity: str) -> str:
    """What people recognise it by: its letters without their accents, as far as they are ASCII."""
    plain = unicodedata.normalize("NFKD", identity).encode("ascii", "ignore").decode()
    return _UNREADABLE.sub("_", plain).strip("_")[:_BEGINNING_CHARS].rstrip("_") or "id"
