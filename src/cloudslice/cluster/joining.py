"""What a node needs to be one of a cluster: settings that a cluster can serve, a name, the key."""

import os
import re
import secrets
import socket
from pathlib import Path

from cloudslice.cluster.registry import ConflictError, Registry
from cloudslice.cluster.registry_keys import SECRET_CHECK
from cloudslice.config import Settings
from cloudslice.secrets import SecretBox, SecretKeyError
from cloudslice.settings.mistakes import SettingsError

_CHECK = "cluster"
_NAME = re.compile(r"[A-Za-z0-9-]{1,80}", re.ASCII)


def check_settings(settings: Settings) -> None:
    """Refuse what a cluster cannot do.

    Raises:
        SettingsError: the settings ask for it.
    """
    if not settings.encryption_key.get_secret_value():
        raise SettingsError(
            "encryption_key: a cluster needs one, the same on all nodes (32 bytes in Base64: "
            "openssl rand -base64 32)"
        )


def choose_url(settings: Settings, host: str) -> str:
    """The base URL by which anchors reach this node.

    Args:
        settings: may say it.
        host: an address of this machine, where it listens on all of them.

    Raises:
        SettingsError: it cannot be known.
    """
    if settings.cluster.url:
        return settings.cluster.url.rstrip("/")
    listens_on, port = settings.listen_address
    if not port:
        raise SettingsError("cluster.url: needed where `listen` has port 0")
    if listens_on in ("0.0.0.0", "::"):  # noqa: S104 - read, not bound
        listens_on = host
    return f"http://{f'[{listens_on}]' if ':' in listens_on else listens_on}:{port}"


def load_node_name(data_dir: Path) -> str:
    """The name of the node that this directory is of: the machine's, and a random part.

    Raises:
        OSError: it cannot be read or written.
    """
    path = data_dir / "node"
    if path.exists():
        name = path.read_text(encoding="ascii", errors="replace").strip()
        if _NAME.fullmatch(name):
            return name
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:60]
    name = f"{host}-{secrets.token_hex(6)}"
    draft = path.with_suffix(".new")
    with draft.open("w", encoding="ascii") as file:
        file.write(f"{name}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    return name


async def check_secret(registry: Registry, box: SecretBox) -> None:
    """Make sure that this node has the key that the others encrypt with.

    Raises:
        SecretKeyError: it has another one.
        RegistryError: the registry gives no answer.
    """
    try:
        await registry.create(SECRET_CHECK, box.seal(_CHECK, _CHECK))
    except ConflictError:
        entry = await registry.get(SECRET_CHECK)
        try:
            box.open(b"" if entry is None else entry.value, _CHECK)
        except SecretKeyError as error:
            raise SecretKeyError(
                "the cluster's tasks are encrypted with another key: encryption_key has to be the "
                "same on all nodes"
            ) from error
