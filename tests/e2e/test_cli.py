"""The command line as an operator meets it: clear errors, helpful help, a demo that works."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudslice.identity.private_map_key import Privilege, verify_private_map_key
from cloudslice.identity.user_sig import verify_user_sig
from cloudslice.ids import RoomIdType, RoomKey
from helpers.node import APP_ID, APP_KEY, Node

_TIMEOUT_S = 60


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cloudslice", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
        env=os.environ | environment,
    )


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """Settings that work; the server is not started."""
    with Node(tmp_path, "http://127.0.0.1:9/hook") as made:
        yield made


def change(node: Node, old: str, new: str) -> None:
    text = node.settings_path.read_text()
    assert old in text
    node.settings_path.write_text(text.replace(old, new))


def test_help_names_every_command_and_where_to_begin() -> None:
    text = run("--help").stdout
    for word in (
        *("serve", "demo", "publish", "usersig", "token", "events", "version"),
        "cloudslice demo",
    ):
        assert word in text


@pytest.mark.parametrize("command", ["serve", "demo", "publish", "usersig", "token", "events"])
def test_every_command_explains_itself(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) > 8


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param("udp_port = ", "udp_prot = ", "rtc.udp_prot", id="unknown key"),
        pytest.param('data_dir = "', 'data_dir = 5 # "', "data_dir", id="wrong type"),
        pytest.param('listen = "127', 'listen = "127 ', "listen", id="bad address"),
        pytest.param(f'secret_key = "{APP_KEY}"', "", "apps[0].secret_key", id="missing secret"),
        pytest.param("[rtc]", "[rtc", "not a TOML file", id="not TOML"),
        pytest.param(
            f"sdk_app_ids = [{APP_ID}]", "sdk_app_ids = [7]", "which no [[apps]] has", id="stranger"
        ),
        pytest.param(
            'callback_key = "', 'rooms = "livekit"\ncallback_key = "', "rooms", id="other rooms"
        ),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_starts(
    node: Node, old: str, new: str, expected: str
) -> None:
    change(node, old, new)
    result = run("serve", "--config", node.settings_path)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert APP_KEY not in result.stderr


def test_a_missing_settings_file_is_named(tmp_path: Path) -> None:
    result = run("serve", "--config", tmp_path / "nowhere.toml")
    assert result.returncode == 2
    assert "nowhere.toml" in result.stderr


@pytest.mark.parametrize(
    ("kind", "attribute", "expected"),
    [
        pytest.param(socket.SOCK_STREAM, "http_port", "listen = ", id="TCP"),
        pytest.param(socket.SOCK_DGRAM, "udp_port", "UDP port", id="UDP"),
    ],
)
def test_a_port_in_use_is_named(
    node: Node, kind: socket.SocketKind, attribute: str, expected: str
) -> None:
    port = getattr(node, attribute)
    with socket.socket(socket.AF_INET, kind) as occupant:
        occupant.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            occupant.listen()
        result = run("serve", "--config", node.settings_path)
    assert result.returncode == 2
    assert expected in result.stderr
    assert str(port) in result.stderr
    assert "Traceback" not in result.stderr


def damage_pages(database: Path) -> None:
    data = bytearray(database.read_bytes())
    for at in range(2 * 4096, len(data), 4096):
        data[at : at + 64] = bytes(b"\xff" * 64)
    database.write_bytes(data)


def drop_table(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP TABLE uploads")


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.write_text("no database, at length " * 99), id="a text"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:20000]), id="cut off"),
        pytest.param(damage_pages, id="pages overwritten"),
        pytest.param(drop_table, id="a table gone"),
    ],
)
def test_a_damaged_database_is_one_clear_sentence_and_the_spool_stays(
    node: Node, spoil: Callable[[Path], object]
) -> None:
    """It names the file and says what to do; with the file moved away, the service starts and
    keeps what was in the spool apart."""
    node.start()
    node.stop()
    stray = node.data_dir / "spool" / "7.slice"
    stray.write_bytes(b"finished")
    database = node.data_dir / "cloudslice.db"
    spoil(database)
    result = run("serve", "--config", node.settings_path)
    assert result.returncode == 2
    assert str(database) in result.stderr
    assert "move it away" in result.stderr
    assert "Traceback" not in result.stderr
    (kept,) = (node.data_dir / "spool").rglob("7.slice")
    assert kept.read_bytes() == b"finished"
    database.rename(database.with_suffix(".damaged"))
    node.start()
    assert (node.data_dir / "spool" / "quarantine" / "7.slice").read_bytes() == b"finished"


def test_a_second_server_on_the_same_data_is_refused(node: Node) -> None:
    node.start()
    assert node.data_dir.stat().st_mode & 0o777 == 0o700  # of nobody else's concern, besides
    result = run(
        *("serve", "--config", node.settings_path),
        CLOUDSLICE_LISTEN="127.0.0.1:0",
        CLOUDSLICE_RTC__UDP_PORT="0",
    )
    assert result.returncode == 2
    assert "in use" in result.stderr or "expected" in result.stderr


def test_usersig_prints_a_usersig_and_a_private_map_key(node: Node, tmp_path: Path) -> None:
    """They are what the server itself accepts, for the given hours."""

    signature = run("usersig", "--config", node.settings_path, "--user", "alice").stdout.strip()
    verify_user_sig(signature, APP_KEY, APP_ID, "alice", now_s=time.time())
    ticket = run(
        *("usersig", "--config", node.settings_path, "--user", "alice"),
        *("--room", "my room", "--room-type", "string"),
    ).stdout.strip()
    room = RoomKey(APP_ID, "my room", RoomIdType.STRING)
    verify_private_map_key(ticket, APP_KEY, room, "alice", Privilege.ALL, now_s=time.time())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("--user", "a b"), "--user", id="user id"),
        pytest.param(("--user", "a", "--app", "7"), "--app", id="app"),
        pytest.param(("--user", "a", "--room", "0"), "--room", id="room number"),
    ],
)
def test_usersig_says_what_it_expected(
    node: Node, arguments: tuple[str, ...], expected: str
) -> None:
    result = run("usersig", "--config", node.settings_path, *arguments)
    assert result.returncode == 2
    assert expected in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("--size", "big"), "WIDTHxHEIGHT", id="size"),
        pytest.param(("--no-video", "--no-audio"), "nothing to send", id="nothing"),
        pytest.param(("--fps", "7"), "fps", id="fps"),
    ],
)
def test_publish_says_what_it_expected(
    node: Node, arguments: tuple[str, ...], expected: str
) -> None:
    result = run(
        *("publish", "--config", node.settings_path, "--room", "150", "--user", "alice"),
        *arguments,
    )
    assert result.returncode == 2
    assert expected in result.stderr


def test_publish_refuses_a_file_that_is_no_media(node: Node, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    result = run(
        *("publish", tmp_path / "notes.txt"),
        *("--config", node.settings_path, "--room", "150", "--user", "alice"),
    )
    assert result.returncode == 2
    assert "cannot be read" in result.stderr


def test_the_demo_shows_files_and_webhooks(tmp_path: Path) -> None:
    result = run("demo", "--dir", tmp_path / "demo", "--seconds", "10")
    assert result.returncode == 0, result.stdout + result.stderr
    for text in ("webhook 1001", "webhook 1004  audio", "webhook 1004  picture", "webhook 1005"):
        assert text in result.stdout
    assert "WRONG SIGNATURE" not in result.stdout
    for suffix in ("ogg", "png"):
        assert list((tmp_path / "demo" / "buckets").rglob(f"*.{suffix}"))


def test_the_demo_names_a_directory_that_it_cannot_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("demo", "--dir", tmp_path / "file" / "demo")
    assert result.returncode == 2
    assert f"--dir {tmp_path / 'file' / 'demo'}: " in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("until", "signals"),
    [
        pytest.param("Encoding", [signal.SIGINT], id="while encoding"),
        pytest.param("CreateCloudSliceTask", [signal.SIGINT], id="while slicing"),
        pytest.param("CreateCloudSliceTask", [signal.SIGINT] * 3, id="impatiently"),
        pytest.param("CreateCloudSliceTask", [signal.SIGTERM], id="SIGTERM"),
        pytest.param("CreateCloudSliceTask", [signal.SIGHUP], id="a closed terminal"),
    ],
)
def test_signals_end_the_demo_and_leave_nothing_running(
    tmp_path: Path, until: str, signals: list[signal.Signals]
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "cloudslice", "demo", "--dir", str(tmp_path / "demo")],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_take_hangups,
    )
    assert demo.stdout is not None
    with demo.stdout:
        for line in demo.stdout:
            if until in line:
                break
        for each in signals:
            demo.send_signal(each)
        rest = demo.stdout.read()
    assert demo.wait(_TIMEOUT_S) == 0
    assert "nothing of it is left running" in rest
    assert not processes_that_mention(str(tmp_path / "demo"))


def _take_hangups() -> None:
    """As a terminal starts its programs; the tests themselves may run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def processes_that_mention(text: str) -> list[str]:
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if text in command:
            found.append(command)
    return found


def test_keys_of_a_credential_that_is_not_there_are_not_made(node: Node) -> None:
    result = run("token", "--config", node.settings_path, "--credential", "AKIDother")
    assert result.returncode == 2
    assert "AKIDother is not in the settings" in result.stderr
