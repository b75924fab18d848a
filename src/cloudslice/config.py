"""Settings: one TOML file with environment overrides, read once, at start.

A variable ``CLOUDSLICE_<KEY>`` overrides a key; ``__`` steps into a table or, by index, into a
list of tables: ``CLOUDSLICE_RTC__UDP_PORT=7000``, ``CLOUDSLICE_APPS__0__SECRET_KEY=...``. A value
is read as TOML where it is valid TOML, otherwise as text.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)

_PREFIX = "CLOUDSLICE_"
_Port = Annotated[int, Field(ge=1, le=65535)]
_SdkAppId = Annotated[int, Field(ge=1, le=4294967295)]
_Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2083)]


class SettingsError(Exception):
    """The settings cannot be used; the text names file, key, and what was expected."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RtcSettings(_Section):
    """WebRTC of the builtin rooms."""

    udp_port: _Port = 7882
    """One UDP port for all anchors."""
    advertise_ip: str = ""
    """The address that anchors reach us by, where it is not one of this machine's (NAT)."""
    ice_servers: tuple[str, ...] = ()
    """STUN or TURN URLs that WHIP clients are told to use."""
    max_video_bitrate_kbps: Annotated[int, Field(ge=100, le=100_000)] = 2500
    """The ceiling that video senders are told by REMB."""
    consent_timeout_s: Annotated[float, Field(ge=2, le=30)] = 15
    """An anchor from which nothing authentic came for so long has left."""


class LimitSettings(_Section):
    """How much one app may ask for (contract C)."""

    tasks: Annotated[int, Field(ge=1)] = 500
    """Unfinished tasks at a time."""
    anchors_per_task: Annotated[int, Field(ge=1)] = 25
    requests_per_second: Annotated[int, Field(ge=1)] = 20
    """Per action and credential."""


class AppSettings(_Section):
    """One SdkAppId."""

    sdk_app_id: _SdkAppId
    secret_key: SecretStr = Field(min_length=1)
    """Signs UserSig and PrivateMapKey."""
    callback_url: _Url | Literal[""] = ""
    """Where webhooks go; none are sent without it."""
    callback_key: SecretStr = SecretStr("")
    """Signs webhooks: up to 32 letters and digits; they go unsigned without it."""
    rooms: Literal["builtin", "livekit", "janus"] = "builtin"
    private_map_key_required: bool = False
    """Whether entering a room takes a PrivateMapKey (the console's advanced permission control)."""
    limits: LimitSettings = LimitSettings()


class CredentialSettings(_Section):
    """A key pair that signs API calls."""

    secret_id: str = Field(min_length=1)
    secret_key: SecretStr = Field(min_length=1)
    sdk_app_ids: tuple[_SdkAppId, ...]
    """The apps it may touch."""


class ApiSettings(_Section):
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


class EndpointSettings(_Section):
    """Where a vendor's buckets are, if not at the vendor's public endpoint."""

    cos: str = ""
    s3: str = ""
    oss: str = ""


class StorageSettings(_Section):
    endpoints: EndpointSettings = EndpointSettings()
    """``http(s)://`` of an S3 server or ``file://`` of a directory; {region} and {bucket} are
    filled in. With {bucket} in the host name, requests are virtual-hosted, else path style."""
    upload_timeout_s: Annotated[float, Field(gt=0)] = 30
    retention_hours: Annotated[float, Field(gt=0)] = 24
    """How long the upload of a slice is tried."""
    spool_limit_gib: Annotated[float, Field(gt=0)] = 20
    """Slices that wait for their upload may take so much; at the limit no task starts."""


class CallbackSettings(_Section):
    timeout_s: Annotated[float, Field(gt=0)] = 5
    retention_hours: Annotated[float, Field(ge=0)] = 24
    """How long a webhook is tried; the contract asks for one minute."""


class LogSettings(_Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(_Section):
    """All of it; the keys are those of the file."""

    listen: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):\d{1,5}$")] = (
        "127.0.0.1:8080"
    )
    data_dir: Path = Path("data")
    encryption_key: SecretStr = SecretStr("")
    """Encrypts storage keys and UserSigs at rest: 32 bytes in Base64. Without it, a key is made
    and kept in data_dir/secret.key."""
    rtc: RtcSettings = RtcSettings()
    apps: tuple[AppSettings, ...] = ()
    credentials: tuple[CredentialSettings, ...] = ()
    api: ApiSettings = ApiSettings()
    storage: StorageSettings = StorageSettings()
    callbacks: CallbackSettings = CallbackSettings()
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
    for name, text in environ.items():
        if name.startswith(_PREFIX):
            _override(values, name, text)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in _explain(error))) from None


def _override(values: dict[str, Any], name: str, text: str) -> None:
    *steps, last = name.removeprefix(_PREFIX).lower().split("__")
    place: Any = values
    for step in steps:
        place = _step_into(place, step, name)
    if not isinstance(place, dict):
        raise SettingsError(f"environment variable {name}: names no key of a table")
    place[last] = _parse_value(text)


def _step_into(place: Any, step: str, name: str) -> Any:
    if isinstance(place, list):
        if not step.isdecimal() or int(step) > len(place):
            raise SettingsError(
                f"environment variable {name}: `{step}` is not an index from 0 to {len(place)}"
            )
        if int(step) == len(place):
            place.append({})
        return place[int(step)]
    if not isinstance(place, dict):
        raise SettingsError(f"environment variable {name}: `{step}` is not in a table")
    return place.setdefault(step, [] if step in ("apps", "credentials") else {})


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False):
        key = "".join(
            f"[{part}]" if isinstance(part, int) else f".{part}" for part in problem["loc"]
        ).lstrip(".")
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: no such setting")
        elif problem["type"] == "missing":
            lines.append(f"{key}: missing, and has no default")
        elif problem["type"] == "value_error":
            lines.append(str(problem["ctx"]["error"]))
        else:
            given = "" if "secret" in key else f" (it is {problem['input']!r})"
            lines.append(f"{key}: {problem['msg']}{given}")
    return lines
