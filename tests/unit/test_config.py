"""Settings: what a file and the environment say, and how their mistakes are explained."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from cloudslice.config import Settings, load_settings
from cloudslice.settings.mistakes import SettingsError

APP = '[[apps]]\nsdk_app_id = 1400000000\nsecret_key = "key"\n'
RULE = """[[apps.auto_tasks]]
rooms = "*"
[apps.auto_tasks.storage]
region = "r"
bucket = "b"
access_key = "a"
secret_key = "TOPSECRET"
"""
CREDENTIAL = '[[credentials]]\nsecret_id = "AKID"\nsecret_key = "key"\nsdk_app_ids = [1400000000]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cloudslice.toml"


def load(file: Path, text: str, **variables: str) -> Settings:
    file.write_text(text)
    return load_settings(file, {f"CLOUDSLICE_{name}": value for name, value in variables.items()})


def complaint(file: Path, text: str, **variables: str) -> str:
    with pytest.raises(SettingsError) as error:
        load(file, text, **variables)
    return str(error.value).replace(str(file), "FILE")


def test_an_empty_file_means_the_defaults(file: Path) -> None:
    settings = load(file, "")
    assert settings == Settings()
    assert settings.listen_address == ("127.0.0.1", 8080)
    assert settings.app(1400000000) is None


def test_a_file_sets_what_it_names(file: Path) -> None:
    settings = load(
        file,
        f"""
        listen = "[::1]:0"
        data_dir = "/var/lib/cloudslice"
        {APP}
        callback_url = "https://example.com/hook"
        callback_key = "abcDEF0123"
        [apps.limits]
        tasks = 3
        {CREDENTIAL}
        [api]
        blocked_addresses = ["10.0.0.0/8"]
        [storage.endpoints]
        cos = "file:///srv/buckets"
        """.replace("        ", ""),
    )
    assert settings.listen_address == ("::1", 0)
    app = settings.app(1400000000)
    assert app is not None
    assert app.callback_url == "https://example.com/hook"
    assert app.limits.tasks == 3
    assert app.limits.anchors_per_task == 25
    assert settings.credentials[0].sdk_app_ids == (1400000000,)
    assert settings.api.blocked_addresses == (ip_network("10.0.0.0/8"),)
    assert settings.storage.endpoints.cos == "file:///srv/buckets"


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("", ()),
        ("203.0.113.7", ("203.0.113.7",)),
        ('["203.0.113.7", "2001:db8::5"]', ("203.0.113.7", "2001:db8::5")),
        ("[]", ()),
    ],
)
def test_there_may_be_one_advertised_address_or_several(
    file: Path, value: str, addresses: tuple[str, ...]
) -> None:
    """By a variable as by the file."""
    assert load(file, "", RTC__ADVERTISE_IP=value).rtc.advertise_ip == addresses
    toml = value if value.startswith("[") else f'"{value}"'
    assert load(file, f"[rtc]\nadvertise_ip = {toml}").rtc.advertise_ip == addresses


def test_variables_override_the_file(file: Path) -> None:
    settings = load(
        file,
        APP + "[rtc]\nudp_port = 7000\n",
        RTC__UDP_PORT="7001",
        DATA_DIR="/srv",
        APPS__0__SECRET_KEY="other",
        APPS__0__PRIVATE_MAP_KEY_REQUIRED="true",
        STORAGE__UPLOAD_TIMEOUT_S="2.5",
        API__REGIONS='["ap-tokyo"]',
    )
    assert settings.rtc.udp_port == 7001
    assert settings.data_dir == Path("/srv")
    assert settings.apps[0].secret_key.get_secret_value() == "other"
    assert settings.apps[0].private_map_key_required
    assert settings.storage.upload_timeout_s == 2.5
    assert settings.api.regions == ("ap-tokyo",)


def test_the_working_directory_may_hold_the_data(tmp_path: Path) -> None:
    """By its name; an empty one is a mistake."""
    path = tmp_path / "cloudslice.toml"
    path.write_text('data_dir = "."')
    assert load_settings(path, {}).data_dir == Path()


def test_variables_alone_can_make_an_app(file: Path) -> None:
    settings = load(
        file,
        "",
        APPS__0__SDK_APP_ID="5",
        APPS__0__SECRET_KEY="k",
        CREDENTIALS__0__SECRET_ID="AKID",
        CREDENTIALS__0__SECRET_KEY="k",
        CREDENTIALS__0__SDK_APP_IDS="[5]",
    )
    assert settings.app(5) is not None
    assert settings.credentials[0].sdk_app_ids == (5,)


@pytest.mark.parametrize("key", ["0123456789", "1e5", "true", "2024-01-01", "a'b\"c", "#x"])
def test_a_secret_that_looks_like_something_else_is_the_text_it_is(file: Path, key: str) -> None:
    settings = load(file, APP, APPS__0__SECRET_KEY=key)
    assert settings.apps[0].secret_key.get_secret_value() == key


def test_a_line_end_behind_a_variable_is_not_of_it(file: Path) -> None:
    """It comes with what is read from a file, as secrets are."""
    settings = load(
        file,
        APP + CREDENTIAL,
        APPS__0__SECRET_KEY="abc\n",
        CREDENTIALS__0__SECRET_KEY="d ef\r\n",
        RTC__UDP_PORT="7001\n",
        API__REGIONS='["ap-tokyo"]\n',
    )
    assert settings.apps[0].secret_key.get_secret_value() == "abc"
    assert settings.credentials[0].secret_key.get_secret_value() == "d ef"
    assert settings.rtc.udp_port == 7001
    assert settings.api.regions == ("ap-tokyo",)


def test_other_variables_do_not_matter(file: Path) -> None:
    file.write_text("")
    assert load_settings(file, {"PATH": "/bin", "CLOUDSLICER": "x"}) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('lisn = "a:1"', "FILE: lisn: no such setting", id="unknown-key"),
        pytest.param("[rtc]\nport = 1", "FILE: rtc.port: no such setting", id="unknown-in-table"),
        pytest.param(
            'listen = "8080"',
            "FILE: listen: expected HOST:PORT, such as 0.0.0.0:8080 or [::1]:8080, "
            "but it is '8080'",
            id="listen-a-port",
        ),
        pytest.param(
            'listen = "::1:80"',
            "FILE: listen: expected HOST:PORT, such as 0.0.0.0:8080 or [::1]:8080, "
            "but it is '::1:80'",
            id="listen-bare-ipv6",
        ),
        pytest.param(
            'listen = "a:65536"',
            "FILE: listen: expected HOST:PORT, such as 0.0.0.0:8080 or [::1]:8080, "
            "but it is 'a:65536'",
            id="listen-port-too-large",
        ),
        pytest.param(
            "[rtc]\nudp_port = 70000",
            "FILE: rtc.udp_port: expected at most 65535, but it is 70000",
            id="too-large",
        ),
        pytest.param(
            '[rtc]\nudp_port = "any"',
            "FILE: rtc.udp_port: expected a whole number, but it is 'any'",
            id="not-a-number",
        ),
        pytest.param("rtc = 1", "FILE: rtc: expected a table, but it is 1", id="not-a-table"),
        pytest.param(
            "[apps]\nsdk_app_id = 1",
            "FILE: apps: expected a list of tables, each under [[apps]]",
            id="one-table-for-a-list",
        ),
        pytest.param(
            "[[apps]]\nsdk_app_id = 1",
            "FILE: apps[0].secret_key: missing, and has no default",
            id="missing",
        ),
        pytest.param(
            APP + 'callback_url = "ftp://x"',
            "FILE: apps[0].callback_url: expected a URL with http:// or https://, "
            "but it is 'ftp://x'",
            id="callback-url",
        ),
        pytest.param(
            APP + 'rooms = "zoom"',
            "FILE: apps[0].rooms: expected one of 'builtin', 'livekit' or 'janus', "
            "but it is 'zoom'",
            id="choice",
        ),
        pytest.param(
            APP + '[apps.livekit]\nurl = "livekit.example.com:7880"',
            "FILE: apps[0].livekit.url: expected a URL with wss://, ws://, https:// or http://, "
            "and no user, query or fragment in it, but it is 'livekit.example.com:7880'",
            id="livekit-url",
        ),
        pytest.param(
            APP + '[[apps.auto_tasks]]\nrooms = "*"',
            "FILE: apps[0].auto_tasks[0]: a rule needs storage.region and storage.bucket and "
            "storage.access_key and storage.secret_key",
            id="rule-without-bucket",
        ),
        pytest.param(
            APP + "[[apps.auto_tasks]]\naudio_slice_s = 5",
            "FILE: apps[0].auto_tasks[0].audio_slice_s: expected at least 15, but it is 5",
            id="rule-range",
        ),
        pytest.param(
            APP + '[[apps.auto_tasks]]\nuser_id = "a b"',
            "FILE: apps[0].auto_tasks[0].user_id: expected 1 to 32 letters, digits, _ or -, "
            "but it is 'a b'",
            id="rule-robot",
        ),
        pytest.param(
            APP + RULE + RULE,
            "FILE: apps[0]: auto_tasks: each user_id may stand there once",
            id="rules-of-one-robot",
        ),
        pytest.param(
            APP
            + RULE.replace(
                "[apps.auto_tasks.storage]",
                "audio = false\nvideo = false\n[apps.auto_tasks.storage]",
            ),
            "FILE: apps[0].auto_tasks[0]: audio or video must be true",
            id="rule-for-nothing",
        ),
        pytest.param(
            APP + "[apps.auto_tasks]\nrooms = 'x'",
            "FILE: apps[0].auto_tasks: expected a list of tables, each under [[apps.auto_tasks]]",
            id="rules-that-are-a-table",
        ),
        pytest.param(
            APP + 'rooms = "livekit"',
            'FILE: apps[0]: rooms = "livekit" needs livekit.url and livekit.api_key and '
            "livekit.api_secret",
            id="livekit-unset",
        ),
        pytest.param(
            APP + 'rooms = "livekit"\nlivekit = {url = "wss://x", api_key = "k"}',
            'FILE: apps[0]: rooms = "livekit" needs livekit.api_secret',
            id="livekit-secret",
        ),
        pytest.param(
            APP + '[apps.livekit]\nroom_name = "room"',
            "FILE: apps[0].livekit.room_name: expected {RoomId} once, and no other braces, "
            "but it is 'room'",
            id="room-name",
        ),
        pytest.param(
            APP + '[apps.livekit]\nidentity = "{RoomId}-{UserId}"',
            "FILE: apps[0].livekit.identity: expected {UserId} once, and no other braces, "
            "but it is '{RoomId}-{UserId}'",
            id="identity",
        ),
        pytest.param(
            '[storage.endpoints]\ncos = "127.0.0.1:9000"',
            "FILE: storage.endpoints.cos: expected a URL with http://, https:// or file:///, "
            "but it is '127.0.0.1:9000'",
            id="endpoint",
        ),
        pytest.param(
            '[storage.endpoints]\ncos = "file://slices"',
            "FILE: storage.endpoints.cos: expected a URL with http://, https:// or file:///, "
            "but it is 'file://slices'",
            id="endpoint-relative",
        ),
        pytest.param(
            '[storage.endpoints]\ns3 = "https://{buckt}.example.com"',
            "FILE: storage.endpoints.s3: expected no other braces than {region} and {bucket}, "
            "but it is 'https://{buckt}.example.com'",
            id="endpoint-unknown-part",
        ),
        pytest.param(
            "[rtc]\nconnecting_per_app = true",
            "FILE: rtc.connecting_per_app: expected a number, but it is True",
            id="truth-for-number",
        ),
        pytest.param(
            "[http]\nheader_timeout_s = true",
            "FILE: http.header_timeout_s: expected a number, but it is True",
            id="truth-for-fraction",
        ),
        pytest.param(
            "[storage]\nretention_hours = inf",
            "FILE: storage.retention_hours: expected a number that is finite, but it is inf",
            id="endless",
        ),
        pytest.param(
            "[storage]\nsync_interval_s = 90",
            "FILE: storage.sync_interval_s: expected at most 60, but it is 90",
            id="limit-of-fraction",
        ),
        pytest.param(
            '[storage.s3]\nchecksum = "crc32"',
            "FILE: storage.s3.checksum: expected one of 'Content-MD5', 'x-amz-checksum-sha256' "
            "or 'none', but it is 'crc32'",
            id="checksum",
        ),
        pytest.param(
            '[storage.cos]\nacl = "a\\n"',
            "FILE: storage.cos.acl: expected ASCII characters without blanks, as a header has "
            "them, but it is 'a\\n'",
            id="header",
        ),
        pytest.param(
            '[storage.cos]\nkms_key_id = "k"',
            'FILE: storage.cos: kms_key_id needs encryption, such as "aws:kms"',
            id="key-without-encryption",
        ),
        pytest.param(
            '[storage.oss]\nca_file = "/nowhere/ca.pem"',
            "FILE: storage.oss.ca_file: expected a file that can be read (No such file or "
            "directory), but it is '/nowhere/ca.pem'",
            id="no-ca-file",
        ),
        pytest.param(
            '[storage.oss]\nca_file = "/dev/null"',
            "FILE: storage.oss.ca_file: expected a file with certificates in PEM, "
            "but it is '/dev/null'",
            id="no-certificates",
        ),
        pytest.param(
            '[storage.cos]\naddressing = "path"\n'
            '[storage.endpoints]\ncos = "https://{bucket}.s3.example.com"',
            'FILE: storage: cos.addressing: "path" contradicts {bucket} in endpoints.cos',
            id="path-style-virtual-host",
        ),
        pytest.param(
            '[storage.s3]\naddressing = "virtual"\n[storage.endpoints]\ns3 = "http://[::1]:9000"',
            'FILE: storage: s3.addressing: "virtual" needs a host name in endpoints.s3, '
            "not an address",
            id="virtual-address",
        ),
        pytest.param(
            '[storage.s3]\naddressing = "virtual"\n[storage.endpoints]\ns3 = "file:///srv"',
            'FILE: storage: s3.addressing: "virtual" is for an endpoint that is a server; '
            "endpoints.s3 is a directory",
            id="virtual-directory",
        ),
        pytest.param(
            'data_dir = ""',
            "FILE: data_dir: expected a directory, but it is ''",
            id="no-directory",
        ),
        pytest.param(
            '[rtc]\nadvertise_ip = "rtc.example.com"',
            "FILE: rtc.advertise_ip: expected an IP address, such as 203.0.113.7, "
            "but it is 'rtc.example.com'",
            id="not-an-address",
        ),
        pytest.param(
            '[[apps]]\nsdk_app_id = 1\nsecret_key = "abc\\n"',
            "FILE: apps[0].secret_key: expected no blank or line end before or behind it",
            id="line-end-behind-a-key",
        ),
        pytest.param(
            '[[credentials]]\nsecret_id = "AKID "\nsecret_key = "\\tabc"\nsdk_app_ids = []',
            "FILE: credentials[0].secret_id: expected no blank or line end before or behind it, "
            "but it is 'AKID '\n"
            "FILE: credentials[0].secret_key: expected no blank or line end before or behind it",
            id="blanks-around-a-pair",
        ),
        pytest.param(
            '[rtc]\nadvertise_ip = ["203.0.113.7", "rtc.example.com"]',
            "FILE: rtc.advertise_ip: expected an IP address, such as 203.0.113.7, "
            "but one is 'rtc.example.com'",
            id="not-an-address-in-a-list",
        ),
        pytest.param(
            "[rtc]\nadvertise_ip = 1",
            "FILE: rtc.advertise_ip: expected an IP address, such as 203.0.113.7, "
            "or a list of them, but it is 1",
            id="no-address-at-all",
        ),
        pytest.param(
            '[rtc]\nice_servers = ["stun.example.com:3478"]',
            "FILE: rtc.ice_servers[0]: expected a URL with stun:, stuns:, turn: or turns:, "
            "but it is 'stun.example.com:3478'",
            id="ice-server",
        ),
        pytest.param(
            '[api]\nallowed_addresses = ["10.0.0.1/8"]',
            "FILE: api.allowed_addresses[0]: expected a network such as 10.0.0.0/8 or a single "
            "address, but it is '10.0.0.1/8'",
            id="network",
        ),
        pytest.param(APP + APP, "FILE: apps: each sdk_app_id may stand there once", id="twice"),
        pytest.param(
            APP + CREDENTIAL + CREDENTIAL,
            "FILE: credentials: each secret_id may stand there once",
            id="credential-twice",
        ),
        pytest.param(
            CREDENTIAL,
            "FILE: credentials: AKID names sdk_app_id 1400000000, which no [[apps]] has",
            id="unknown-app",
        ),
        pytest.param(
            "x =", "FILE: not a TOML file: Invalid value (at end of document)", id="not-toml"
        ),
        pytest.param(
            "a = 1\nb = 2",
            "FILE: a: no such setting\nFILE: b: no such setting",
            id="all-mistakes-at-once",
        ),
    ],
)
def test_a_mistake_is_explained_by_file_key_and_expectation(
    file: Path, text: str, message: str
) -> None:
    assert complaint(file, text) == message


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        pytest.param({"LISN": "a:1"}, "CLOUDSLICE_LISN: lisn: no such setting", id="unknown"),
        pytest.param(
            {"RTC__UDP_PORT": "many"},
            "CLOUDSLICE_RTC__UDP_PORT: rtc.udp_port: expected a whole number, but it is 'many'",
            id="bad-value",
        ),
        pytest.param(
            {"APPS__1__SECRET_KEY": "k"},
            "CLOUDSLICE_APPS__1__SECRET_KEY: `1` is not an index from 0 to 0",
            id="index-too-large",
        ),
        pytest.param(
            {"APPS__FIRST__SECRET_KEY": "k"},
            "CLOUDSLICE_APPS__FIRST__SECRET_KEY: `first` is not an index from 0 to 0",
            id="not-an-index",
        ),
        pytest.param({"APPS__0": "k"}, "CLOUDSLICE_APPS__0: names no key of a table", id="index"),
        pytest.param(
            {"LISTEN__HOST": "k", "LISTEN__HOST__X": "k"},
            "CLOUDSLICE_LISTEN__HOST__X: names no key of a table",
            id="key-of-a-value",
        ),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(
    file: Path, variables: dict[str, str], message: str
) -> None:
    assert complaint(file, "", **variables) == f"environment variable {message}"


def test_a_list_in_a_variable_must_be_toml(file: Path) -> None:
    message = complaint(file, "", API__REGIONS="[ap-tokyo]")
    assert message.startswith("environment variable CLOUDSLICE_API__REGIONS: not valid TOML: ")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('[apps]\nsdk_app_id = 1\nsecret_key = "TOPSECRET"', id="table-for-a-list"),
        pytest.param(APP + 'callback_key = "TOPSECRET!"', id="callback-key"),
        pytest.param('encryption_key = ["TOPSECRET"]', id="encryption-key"),
        pytest.param('[storage.cos]\nsession_token = "TOPSECRET "', id="session-token"),
        pytest.param(APP + '[apps.livekit]\napi_secret = "TOPSECRET "', id="api-secret"),
        pytest.param(APP + RULE + RULE, id="storage-secret"),
        pytest.param(
            CREDENTIAL.replace('"key"', '"TOPSECRET"') + "x = 1", id="another-key-of-its-table"
        ),
    ],
)
def test_no_secret_is_in_an_explanation(file: Path, text: str) -> None:
    assert "TOPSECRET" not in complaint(file, text)


def test_no_secret_is_in_the_text_of_settings(file: Path) -> None:
    settings = load(file, (APP + CREDENTIAL).replace('"key"', '"TOPSECRET"'))
    assert "TOPSECRET" not in repr(settings) + str(settings.model_dump())


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "absent.toml", "cannot be read: No such file or directory"),
        (tmp_path, "cannot be read: Is a directory"),
    ):
        with pytest.raises(SettingsError) as error:
            load_settings(path, {})
        assert str(error.value) == f"{path}: {reason}"
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not a TOML file"):
        load_settings(binary, {})
