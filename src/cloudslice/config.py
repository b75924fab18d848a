"""Settings: one TOML file with environment overrides, read once, at start.

A variable ``CLOUDSLICE_<KEY>`` overrides a key; ``__`` steps into a table or, by index, into a
list of tables: ``CLOUDSLICE_RTC__UDP_PORT=7000``, ``CLOUDSLICE_APPS__0__SECRET_KEY=...``. A value
that starts like a TOML list, table or quoted text is read as that, any other as the text it is, but
without line ends behind it, which come with what is read from a file.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)

from cloudslice.room_settings import JanusSettings, LivekitSettings
from cloudslice.setting_values import (
    Addresses,
    CaFile,
    CallbackKey,
    CallbackUrl,
    Directory,
    Endpoint,
    HeaderSecret,
    HeaderValue,
    IceServer,
    Listen,
    Port,
    SdkAppId,
    SecretId,
    SecretKey,
    check_addressing,
)
from cloudslice.settings_section import Section
from cloudslice.slices import Vendor

_PREFIX = "CLOUDSLICE_"


class SettingsError(Exception):
    """The settings cannot be used; the text names file, key, and what was expected."""


class RtcSettings(Section):
    """WebRTC of the builtin rooms."""

    udp_port: Port = 7882
    """One UDP port for all anchors."""
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
    private_map_key_required: bool = False
    """Whether entering a room takes a PrivateMapKey (the console's advanced permission control)."""
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _check_rooms(self) -> "AppSettings":
        urls = {"livekit": self.livekit.url, "janus": self.janus.url}
        if not urls.get(self.rooms, "none is needed"):
            raise ValueError(f'rooms = "{self.rooms}" needs {self.rooms}.url')
        return self


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


class EndpointSettings(Section):
    """Where a vendor's buckets are, if not at the vendor's public endpoint."""

    cos: Endpoint = ""
    s3: Endpoint = ""
    oss: Endpoint = ""


class VendorSettings(Section):
    """What requests to a vendor's buckets are like."""

    addressing: Literal["auto", "path", "virtual"] = "auto"
    """Where requests name the bucket: in the path or in the host name."""
    checksum: Literal["Content-MD5", "x-amz-checksum-sha256", "none"] = "Content-MD5"
    """The header with a hash that the store compares; Object Lock wants one."""
    encryption: HeaderValue = ""
    """``x-amz-server-side-encryption``; not sent without it."""
    kms_key_id: HeaderValue = ""
    """``x-amz-server-side-encryption-aws-kms-key-id``; not sent without it."""
    acl: HeaderValue = ""
    """``x-amz-acl``; not sent without it."""
    ca_file: CaFile = ""
    """PEM certificates that stores' certificates must come from; without it, the system's."""
    session_token: HeaderSecret = SecretStr("")
    """``x-amz-security-token``, for tasks whose keys are temporary; not sent without it."""

    @model_validator(mode="after")
    def _check_encryption(self) -> "VendorSettings":
        if self.kms_key_id and not self.encryption:
            raise ValueError('kms_key_id needs encryption, such as "aws:kms"')
        return self


class StorageSettings(Section):
    endpoints: EndpointSettings = EndpointSettings()
    """``http(s)://`` of an S3 server or ``file://`` of a directory; {region} and {bucket} are
    filled in. With {bucket} in the host name, requests are virtual-hosted, else path style."""
    cos: VendorSettings = VendorSettings()
    s3: VendorSettings = VendorSettings()
    oss: VendorSettings = VendorSettings()
    upload_timeout_s: Annotated[float, Field(gt=0)] = 30
    retention_hours: Annotated[float, Field(gt=0)] = 24
    """How long the upload of a slice is tried."""
    spool_limit_gib: Annotated[float, Field(gt=0)] = 20
    """Slices that wait for their upload may take so much; at the limit no task starts."""
    sync_interval_s: Annotated[float, Field(ge=0, le=60)] = 1
    """So often growing slices reach the device; 0 leaves it to the kernel."""

    @model_validator(mode="after")
    def _check_addressing(self) -> "StorageSettings":
        for vendor in Vendor:
            check_addressing(
                vendor.name.lower(), self.of(vendor).addressing, self.endpoint_of(vendor)
            )
        return self

    def of(self, vendor: Vendor) -> VendorSettings:
        """What requests to a vendor's buckets are like."""
        return {Vendor.COS: self.cos, Vendor.S3: self.s3, Vendor.OSS: self.oss}[vendor]

    def endpoint_of(self, vendor: Vendor) -> str:
        """Where the vendor's buckets are; empty: at its public endpoint."""
        endpoints = self.endpoints
        return {Vendor.COS: endpoints.cos, Vendor.S3: endpoints.s3, Vendor.OSS: endpoints.oss}[
            vendor
        ]


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
        _override(values, name, text): name
        for name, text in environ.items()
        if name.startswith(_PREFIX)
    }
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error, path, sources))) from None


_Place = tuple[str | int, ...]
"""The way to a key: names of tables, indexes of lists."""


def _override(values: dict[str, Any], name: str, text: str) -> _Place:
    *steps, last = name.removeprefix(_PREFIX).lower().split("__")
    table: Any = values
    place: _Place = ()
    for step in steps:
        table, index = _step_into(table, step, name)
        place += (index,)
    if not isinstance(table, dict):
        raise SettingsError(f"environment variable {name}: names no key of a table")
    table[last] = _parse_value(text, name)
    return (*place, last)


def _step_into(table: Any, step: str, name: str) -> tuple[Any, str | int]:
    if isinstance(table, list):
        if not step.isdecimal() or int(step) > len(table):
            raise SettingsError(
                f"environment variable {name}: `{step}` is not an index from 0 to {len(table)}"
            )
        if int(step) == len(table):
            table.append({})
        return table[int(step)], int(step)
    if not isinstance(table, dict):
        raise SettingsError(f"environment variable {name}: `{step}` is not in a table")
    return table.setdefault(step, [] if step in ("apps", "credentials") else {}), step


def _parse_value(text: str, name: str) -> Any:
    text = text.rstrip("\r\n")
    if not text.startswith(("[", "{", '"', "'")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"environment variable {name}: not valid TOML: {error}") from error


_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "float_parsing": "a number",
    "finite_number": "a number that is finite",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "ip_any_network": "a network such as 10.0.0.0/8 or a single address",
    "less_than_equal": "at most {le}",
    "literal_error": "one of {expected}",
    "model_type": "a table",
    "path_type": "a path in quotes",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "a text that is not empty",
    "string_type": "a text in quotes",
    "too_short": "a text that is not empty",
    "tuple_type": "a list",
}


def _explain(error: ValidationError, file: Path, sources: Mapping[_Place, str]) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        place = problem["loc"]
        variable = next((v for p, v in sources.items() if place[: len(p)] == p), None)
        origin = f"environment variable {variable}" if variable else str(file)
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        where = f"{origin}: {key.lstrip('.')}: " if key else f"{origin}: "
        yield where + _describe(problem["type"], place, problem)


def _show(limit: object) -> object:
    """60.0, which is a limit of a number, as the documentation has it: 60."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _describe(kind: str, place: _Place, problem: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return "no such setting"
    if kind == "missing":
        return "missing, and has no default"
    if kind == "value_error":
        reason = str(problem["ctx"]["error"])
    elif place[-1:] in (("apps",), ("credentials",)) and kind == "tuple_type":
        reason = f"expected a list of tables, each under [[{place[-1]}]]"
    elif kind in _EXPECTED:
        limits = problem.get("ctx", {})
        reason = "expected " + _EXPECTED[kind].format(**{k: _show(v) for k, v in limits.items()})
    else:
        reason = problem["msg"]
    value, name = problem["input"], str(place[-1]) if place else ""
    is_shown = isinstance(value, str | int | float) and not name.endswith(("_key", "_token"))
    return f"{reason}, but it is {value!r}" if is_shown else reason
