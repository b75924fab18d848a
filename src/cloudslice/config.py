"""Settings: one TOML file with environment overrides, read once, at start."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)

from cloudslice.settings.auto_task_settings import AutoTaskSettings
from cloudslice.settings.cluster_settings import ClusterSettings
from cloudslice.settings.mistakes import SettingsError, explain
from cloudslice.settings.overrides import PREFIX, override
from cloudslice.settings.room_settings import JanusSettings, LivekitSettings
from cloudslice.settings.section import Section
from cloudslice.settings.storage_settings import StorageSettings
from cloudslice.settings.values import (
    Addresses,
    CallbackKey,
    CallbackUrl,
    Directory,
    IceServer,
    Listen,
    Port,
    SdkAppId,
    SecretId,
    SecretKey,
    VideoCodecName,
)


class RtcSettings(Section):
    """WebRTC of the builtin rooms, and of visits to rooms of other servers."""

    udp_port: Port = 7882
    """One UDP port for all anchors of builtin rooms, and for Janus's."""
    advertise_ip: Addresses = ()
    """The addresses that anchors are told, where this machine's own do not do (NAT)."""
    networks: tuple[IPvAnyNetwork, ...] = ()
    """Which of this machine's addresses anchors are told; all that are of use, if empty."""
    interfaces: tuple[str, ...] = ()
    """The same, by the interfaces that have them."""
    ice_servers: tuple[IceServer, ...] = ()
    """STUN or TURN URLs that WHIP clients are told to use."""
    max_video_bitrate_kbps: Annotated[int, Field(ge=100, le=100_000)] = 2500
    """The ceiling that video senders are told by REMB."""
    preferred_video_codecs: tuple[VideoCodecName, ...] = ()
    """Codecs that anchors of builtin rooms are asked to send video in, the best one first. Behind
    them come all others, in the order of the anchor's offer."""
    consent_timeout_s: Annotated[float, Field(ge=2, le=30)] = 15
    """An anchor from which nothing authentic came for so long has left."""
    room_grace_s: Annotated[float, Field(ge=1)] = 60
    """A robot leaves a room of another server when the connection was lost for so long."""
    connecting_per_user: Annotated[int, Field(ge=1)] = 10
    """Sessions of one UserId, in different rooms, that are not connected yet."""
    connecting_per_app: Annotated[int, Field(ge=1)] = 1000
    """The same of all UserIds of one app."""
    connecting_per_node: Annotated[int, Field(ge=1)] = 2000
    """The same of all apps."""


class HttpSettings(Section):
    """Connections to the API, WHIP and /metrics."""

    keep_alive_s: Annotated[int, Field(ge=1)] = 150
    """How long a connection may be idle between two requests. A proxy that closes its idle ones
    later than we do meets some that are just being closed, and answers 502."""
    header_timeout_s: Annotated[float, Field(gt=0)] = 15
    body_timeout_s: Annotated[float, Field(gt=0)] = 60
    """The official clients' own default timeout: after that nobody waits for an answer."""
    connections: Annotated[int, Field(ge=1)] = 1000
    connections_per_address: Annotated[int, Field(ge=1)] = 250
    body_memory_mib: Annotated[float, Field(ge=1)] = 32
    """What all bodies that are being read may take, beside the first 64 KiB of each."""


class LimitSettings(Section):
    """How much one app may ask for."""

    tasks: Annotated[int, Field(ge=1)] = 500
    """Unfinished tasks at a time."""
    anchors_per_task: Annotated[int, Field(ge=1)] = 25
    requests_per_second: Annotated[int, Field(ge=1)] = 20
    """Per action and credential."""


class AppSettings(Section):
    """One SdkAppId."""

    sdk_app_id: SdkAppId
    secret_key: SecretKey
    """Signs UserSig and PrivateMapKey."""
    callback_url: CallbackUrl = ""
    """Where webhooks go; none are sent without it."""
    callback_key: CallbackKey = SecretStr("")
    """Signs webhooks: up to 32 letters and digits; they go unsigned without it."""
    room_events: bool = False
    """Whether webhooks also tell of rooms, anchors and their media (EventGroupId 1 and 2)."""
    rooms: Literal["builtin", "livekit", "janus"] = "builtin"
    livekit: LivekitSettings = LivekitSettings()
    """The server, where `rooms` is "livekit"."""
    janus: JanusSettings = JanusSettings()
    """The server, where `rooms` is "janus"."""
    auto_tasks: tuple[AutoTaskSettings, ...] = ()
    """Tasks that begin with their rooms, without a call."""
    private_map_key_required: bool = False
    """Whether entering a room takes a PrivateMapKey (the console's advanced permission control)."""
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _check_auto_tasks(self) -> "AppSettings":
        robots = [each.user_id for each in self.auto_tasks if each.rooms]
        if len(set(robots)) < len(robots):
            raise ValueError("auto_tasks: each user_id may stand there once")
        return self

    @model_validator(mode="after")
    def _check_rooms(self) -> "AppSettings":
        needed: dict[str, Mapping[str, str]] = {
            "builtin": {},
            "livekit": {
                "livekit.url": self.livekit.url,
                "livekit.api_key": self.livekit.api_key,
                "livekit.api_secret": self.livekit.api_secret.get_secret_value(),
            },
            "janus": {"janus.url": self.janus.url},
        }
        if missing := [key for key, value in needed[self.rooms].items() if not value]:
            raise ValueError(f'rooms = "{self.rooms}" needs {" and ".join(missing)}')
        return self

    @property
    def unused_servers(self) -> list[str]:
        """Kinds of rooms whose server is set up, while `rooms` says another kind."""
        servers = {"livekit": self.livekit.url, "janus": self.janus.url}
        return [kind for kind, url in servers.items() if url and kind != self.rooms]


class CredentialSettings(Section):
    """A key pair that signs API calls."""

    secret_id: SecretId
    secret_key: SecretKey
    sdk_app_ids: tuple[SdkAppId, ...]
    """The apps it may touch."""


class ApiSettings(Section):
    """The API 3.0 gateway."""

    regions: tuple[str, ...] = ("ap-singapore", "eu-frankfurt", "ap-guangzhou", "ap-beijing")
    """Values of X-TC-Region that are served."""
    services: tuple[str, ...] = ()
    """Service names that signatures may be made for; any, if empty: several clients take it from
    the endpoint's host name."""
    host_aliases: tuple[str, ...] = ()
    """What clients take for our host when they sign, where a proxy on the way replaces it."""
    allowed_addresses: tuple[IPvAnyNetwork, ...] = ()
    """Networks that callers may come from; any, if empty."""
    blocked_addresses: tuple[IPvAnyNetwork, ...] = ()
    """Networks that callers may not come from."""


class CallbackSettings(Section):
    timeout_s: Annotated[float, Field(gt=0)] = 5
    retention_hours: Annotated[float, Field(ge=0)] = 24
    """How long a webhook is tried; receivers count on one minute."""
    history_hours: Annotated[float, Field(ge=0)] = 24
    """How long events can be listed and replayed after they were delivered or given up."""
    history_mib: Annotated[float, Field(ge=0)] = 64
    """So much of them is kept; the oldest are deleted first."""


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Section):
    """All of it; the keys are those of the file."""

    listen: Listen = "127.0.0.1:8080"
    data_dir: Directory = Path("data")
    encryption_key: SecretStr = SecretStr("")
    """Encrypts storage keys and UserSigs at rest: 32 bytes in Base64. Without it, a key is made
    and kept in data_dir/secret.key."""
    rtc: RtcSettings = RtcSettings()
    http: HttpSettings = HttpSettings()
    apps: tuple[AppSettings, ...] = ()
    credentials: tuple[CredentialSettings, ...] = ()
    api: ApiSettings = ApiSettings()
    storage: StorageSettings = StorageSettings()
    callbacks: CallbackSettings = CallbackSettings()
    cluster: ClusterSettings = ClusterSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _check_references(self) -> "Settings":
        ids = [app.sdk_app_id for app in self.apps]
        if len(set(ids)) < len(ids):
            raise ValueError("apps: each sdk_app_id may stand there once")
        secret_ids = [credential.secret_id for credential in self.credentials]
        if len(set(secret_ids)) < len(secret_ids):
            raise ValueError("credentials: each secret_id may stand there once")
        for credential in self.credentials:
            for sdk_app_id in credential.sdk_app_ids:
                if sdk_app_id not in ids:
                    raise ValueError(
                        f"credentials: {credential.secret_id} names sdk_app_id {sdk_app_id}, "
                        "which no [[apps]] has"
                    )
        return self

    @property
    def listen_address(self) -> tuple[str, int]:
        """Host and TCP port; port 0 means any free one."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    def app(self, sdk_app_id: int) -> AppSettings | None:
        """The settings of an app, or None if it is not served here."""
        return next((app for app in self.apps if app.sdk_app_id == sdk_app_id), None)


def load_settings(path: Path, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of the TOML file at `path` with those of `environ` over them.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or a key is unknown or has a bad value.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: not a TOML file: {error}") from error
    sources = {
        override(values, name, text): name
        for name, text in environ.items()
        if name.startswith(PREFIX)
    }
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(explain(error, path, sources))) from None
