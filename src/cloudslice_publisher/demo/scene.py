"""The demo's settings: made anew each time, with secrets of its own and ports that are free."""

import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

SDK_APP_ID = 1400000001
ROOM_ID = "150"
ROBOT = "slice_bot_150"
BUCKET = "demo-1250000000"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where everything of a demo is."""

    directory: Path
    http_port: int
    secret_id: str
    secret_key: str
    app_key: str
    callback_key: str

    @property
    def settings_path(self) -> Path:
        """The server's settings file."""
        return self.directory / "cloudslice.toml"

    @property
    def bucket_path(self) -> Path:
        """The bucket's files."""
        return self.directory / "buckets" / BUCKET

    @property
    def log_path(self) -> Path:
        """What the server logs."""
        return self.directory / "server.log"


def set_scene(directory: Path, callback_port: int) -> Scene:
    """Write the settings into `directory`, from which a former demo's things are removed."""
    for name in ("data", "buckets", "cloudslice.toml", "server.log"):
        path = directory / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    scene = Scene(
        directory=directory.resolve(),
        http_port=_free_port(socket.SOCK_STREAM),
        secret_id=f"AKID{secrets.token_hex(16)}",
        secret_key=secrets.token_hex(16),
        app_key=secrets.token_hex(32),
        callback_key=secrets.token_hex(16),
    )
    scene.settings_path.write_text(_settings(scene, callback_port), encoding="utf-8")
    return scene


def _settings(scene: Scene, callback_port: int) -> str:
    return f"""\
listen = "127.0.0.1:{scene.http_port}"
data_dir = "{scene.directory / "data"}"

[rtc]
udp_port = {_free_port(socket.SOCK_DGRAM)}

[[apps]]
sdk_app_id = {SDK_APP_ID}
secret_key = "{scene.app_key}"
callback_url = "http://127.0.0.1:{callback_port}/callback"
callback_key = "{scene.callback_key}"

[[credentials]]
secret_id = "{scene.secret_id}"
secret_key = "{scene.secret_key}"
sdk_app_ids = [{SDK_APP_ID}]

[storage.endpoints]
cos = "{(scene.directory / "buckets").as_uri()}"
"""


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
