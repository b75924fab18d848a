"""Commands ask the node that runs on the same machine."""

import asyncio
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from cloudslice.control_socket import ControlError, ControlSocket, ask


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """With a path that is longer than the address of a socket may be."""
    directory = tmp_path / ("x" * 120)
    directory.mkdir()
    return directory


async def echo(argument: str) -> str:
    if not argument:
        raise ControlError("nothing to say")
    if argument == "bug":
        raise RuntimeError("bug")
    return f"{argument}!"


async def test_what_is_asked_for_is_done_and_answered(data_dir: Path) -> None:
    async with ControlSocket(data_dir, {"echo": echo}) as control:
        assert await asyncio.to_thread(ask, data_dir, "echo", "/a b/ü") == "/a b/ü!"
        with pytest.raises(ControlError, match="nothing to say"):
            await asyncio.to_thread(ask, data_dir, "echo", "")
        with pytest.raises(ControlError, match="another version"):
            await asyncio.to_thread(ask, data_dir, "sing", "x")
        with pytest.raises(ControlError, match="its log has the traceback"):
            await asyncio.to_thread(ask, data_dir, "echo", "bug")
        assert control.faults.errors == 1
        mode = (data_dir / "control").stat().st_mode
        assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


async def test_where_no_node_runs_it_is_said(data_dir: Path) -> None:
    with pytest.raises(ControlError, match="no node is running"):
        await asyncio.to_thread(ask, data_dir, "echo", "x")
    async with ControlSocket(data_dir, {"echo": echo}):
        pass
    with pytest.raises(ControlError, match="no node is running"):
        await asyncio.to_thread(ask, data_dir, "echo", "x")


async def test_the_socket_of_a_killed_process_is_replaced(data_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        directory = os.open(data_dir, os.O_RDONLY)
        left.bind(f"/proc/self/fd/{directory}/control")
        os.close(directory)
    async with ControlSocket(data_dir, {"echo": echo}):
        assert await asyncio.to_thread(ask, data_dir, "echo", "x") == "x!"


async def test_who_says_nothing_or_nonsense_harms_nobody(data_dir: Path) -> None:
    async with ControlSocket(data_dir, {"echo": echo}) as control:
        directory = os.open(data_dir, os.O_RDONLY)
        for words in (b"", b"nonsense\n", b"[]\n", b'{"do": {}}\n', b"x" * 200_000):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"/proc/self/fd/{directory}/control")
                connection.setblocking(False)
                loop = asyncio.get_running_loop()
                try:
                    await loop.sock_sendall(connection, words)
                    connection.shutdown(socket.SHUT_WR)
                    answer = await loop.sock_recv(connection, 1000)
                except OSError:
                    continue
                assert not answer or "error" in json.loads(answer)
        os.close(directory)
        assert await asyncio.to_thread(ask, data_dir, "echo", "x") == "x!"
        assert control.faults.errors == 0


async def test_a_request_under_way_does_not_keep_the_node_from_ending(data_dir: Path) -> None:
    has_begun = asyncio.Event()

    async def hang(_argument: str) -> str:
        has_begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with ControlSocket(data_dir, {"hang": hang}):
        asking = asyncio.create_task(asyncio.to_thread(ask, data_dir, "hang", "x"))
        await has_begun.wait()
    with pytest.raises(ControlError, match="has ended meanwhile"):
        await asking
