"""Our agents and another implementation's find each other over UDP on loopback."""

import asyncio
import socket
from collections.abc import AsyncIterator

import aioice
import aioice.ice
import pytest

from cloudslice.webrtc.candidates import Candidate, IceCredentials, host_candidates
from cloudslice.webrtc.ice import IceAgent, IceState
from cloudslice.webrtc.udp.paths import Path, make_path
from helpers.path_parts import remote_address

_TICK_S = 0.02


class UdpAgent(asyncio.DatagramProtocol):
    """An agent with a socket and a tick; what is no STUN is sent back."""

    def __init__(self, *, is_lite: bool, is_controlling: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self.agent = IceAgent(
            is_lite=is_lite, is_controlling=is_controlling, send=self._send, now=self._loop.time()
        )
        self.connected = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self) -> tuple[str, int]:
        self._transport, _ = await self._loop.create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0), family=socket.AF_INET
        )
        address: tuple[str, int] = self._transport.get_extra_info("sockname")
        return address

    async def run(self) -> None:
        while True:
            self.agent.send_due(self._loop.time())
            await asyncio.sleep(_TICK_S)

    def close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        path = make_path(*addr)
        if data[0] >= 4:
            self.agent.heard(path, self._loop.time())
            self._send(data, self.agent.path or path)
        else:
            self.agent.receive(data, path, self._loop.time())
        if self.agent.state is IceState.CONNECTED:
            self.connected.set()

    def _send(self, datagram: bytes, path: Path) -> None:
        assert self._transport is not None
        self._transport.sendto(datagram, remote_address(path))


@pytest.fixture(params=[(True, False), (False, True), (False, False)], ids=str)
async def ours(request: pytest.FixtureRequest) -> AsyncIterator[UdpAgent]:
    """Lite, full and controlling, full and controlled."""
    is_lite, is_controlling = request.param
    opened = UdpAgent(is_lite=is_lite, is_controlling=is_controlling)
    yield opened
    opened.close()


@pytest.mark.parametrize("is_conflict", [False, True])
async def test_another_implementation_connects(
    ours: UdpAgent, is_conflict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With both roles, and when both sides begin with the same one; then data goes both ways."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])
    agent = ours.agent
    theirs = aioice.Connection(ice_controlling=agent.is_controlling is is_conflict)
    theirs.remote_is_lite = agent.is_lite
    theirs.remote_username, theirs.remote_password = agent.local.ufrag, agent.local.password
    [candidate] = host_candidates([await ours.open()])
    await theirs.add_remote_candidate(
        aioice.Candidate.from_sdp(
            f"{candidate.foundation} 1 udp {candidate.priority} {candidate.host} {candidate.port}"
            " typ host"
        )
    )
    await theirs.add_remote_candidate(None)
    await theirs.gather_candidates()
    remote = IceCredentials(theirs.local_username, theirs.local_password)
    agent.set_remote(remote, is_lite=False, now=asyncio.get_running_loop().time())
    for each in theirs.local_candidates:
        agent.add_candidate(
            Candidate(
                each.foundation,
                each.component,
                each.transport,
                each.priority,
                each.host,
                each.port,
                each.type,
            )
        )
    agent.end_of_candidates()
    ticking = asyncio.create_task(ours.run())
    try:
        async with asyncio.timeout(10):
            await theirs.connect()
            await ours.connected.wait()
            await theirs.send(b"\x80 some media")
            assert await theirs.recv() == b"\x80 some media"
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
        await theirs.close()
