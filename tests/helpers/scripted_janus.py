"""A Janus whose answers, offers and media come when the test says so: its session, and a peer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cloudslice.faults import Faults
from cloudslice.ids import TrackKind
from cloudslice.rooms.janus.janus_channel import Message
from cloudslice.rooms.janus.janus_subscription import Subscription
from cloudslice.rooms.janus.roster import Source
from cloudslice.rooms.janus.session import Answer, Listener
from cloudslice.rooms.remote.remote_audio_track import RemoteAudioTrack
from cloudslice.rooms.remote.remote_tracks import RemoteTrack
from cloudslice.webrtc.connection_user import ConnectionUser
from cloudslice.webrtc.peer_connection import PeerConnection
from helpers.meeting import CERTIFICATE, HOME, OPTIONS, MemoryPort
from helpers.peer import Peer, shuttle
from helpers.slice_store import ManualClock

AUDIO = TrackKind.AUDIO


class ScriptedSession:
    """A JanusSession; each request waits in `asked` until the test answers it.

    Its methods are those that a subscription calls.
    """

    is_connected = True

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[Message, asyncio.Future[Message]]] = asyncio.Queue()
        self.listener: Listener = lambda _message: None

    async def attach(self, listener: Listener) -> int:
        self.listener = listener
        return 1

    async def detach(self, _handle: int) -> None:
        pass

    async def message(self, _handle: int, body: Message, jsep: Message | None = None) -> Answer:
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((body | ({"jsep": jsep} if jsep else {}), answer))
        return Answer(await answer, None)


class ScriptedJanus:
    """One audio section, which is whose the test says; see `scripted_janus`."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.port = MemoryPort(self.clock)
        self.peer = Peer((AUDIO,))
        self.session = ScriptedSession()
        self.subscription = Subscription(
            self.session,  # type: ignore[arg-type]
            {"request": "join"},
            self._connect,
            self.port,
            self.clock,
        )
        self.tracks: dict[Source, RemoteTrack] = {}
        self.sent = 0

    def publish(self, *feeds: str) -> None:
        """These publish their audio now, and nobody else; a track goes on while its feed does."""
        sources = [Source(feed, "a") for feed in feeds]
        self.tracks = {
            source: self.tracks.get(source) or RemoteAudioTrack(self.clock, Faults("track").caught)
            for source in sources
        }
        self.subscription.set_tracks(self.tracks, feeds)

    def audio(self, feed: str) -> RemoteAudioTrack:
        track = self.tracks[Source(feed, "a")]
        assert isinstance(track, RemoteAudioTrack)
        return track

    async def answer(self, expected: str, **data: Any) -> Message:
        """Answer the next request, which is to be the one that is expected; its body."""
        async with asyncio.timeout(5):
            body, answer = await self.session.asked.get()
        assert body["request"] == expected
        answer.set_result(data)
        await asyncio.sleep(0)
        return body

    async def offer_to(self, owner: str | None, *, request: str) -> Message:
        """Answer a request by an offer in which the section is `owner`'s; the request's body."""
        stream = {"mid": "0"} | ({"feed_id": owner, "feed_mid": "a"} if owner else {})
        data = {"videoroom": "updated", "streams": [stream]}
        async with asyncio.timeout(5):
            body, answer = await self.session.asked.get()
        assert body["request"] == request
        jsep = {"type": "offer", "sdp": self.peer.offer}
        self.session.listener({"janus": "event", "plugindata": {"data": data}, "jsep": jsep})
        answer.set_result(data)
        return body

    async def begin(self, owner: str) -> None:
        """Join, connect, and hand the section to its first owner."""
        await self.offer_to(owner, request="join")
        started = await self.answer("start")
        self.peer.begin(started["jsep"]["sdp"])
        self._exchange()
        await self.answer("configure")
        await asyncio.sleep(0)

    def deliver(self, payload: bytes) -> None:
        """An Opus packet comes in the section, on the SSRC that it always has."""
        self.sent += 1
        self.clock.now += 0.02
        self.port.deliver(self.peer.rtp(AUDIO, self.sent, self.sent * 960, payload))

    def _connect(self, user: ConnectionUser) -> PeerConnection:
        options = replace(OPTIONS, policy=replace(OPTIONS.policy, announced_only=True))
        return PeerConnection(self.port, CERTIFICATE, options, user, self.clock)

    def _exchange(self) -> None:
        while self.peer.outbox or self.port.sent:
            inbox = [data for data, _path in self.port.sent]
            self.port.sent.clear()
            shuttle(self.peer, lambda data: self.port.deliver(data, path=HOME), inbox)


@contextmanager
def scripted_janus() -> Iterator[ScriptedJanus]:
    """It is closed in the end."""
    janus = ScriptedJanus()
    try:
        yield janus
    finally:
        janus.subscription.close()
        janus.port.close()
