"""A subscriber handle: the one connection by which we receive all that is wanted of a room.

1. One request to change the subscriptions is under way at a time. Each section's owner is read from
   the `streams` of the event that the offer came with.
2. What is subscribed to is switched off at first (`send`). It is switched on when we know its
   section, and bound to its track when Janus has said that it is on (`janus_sections`).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cloudslice.clock import Clock
from cloudslice.rooms.janus.janus_channel import Message
from cloudslice.rooms.janus.janus_errors import NO_SUCH_FEED, JanusError, SignallingLostError
from cloudslice.rooms.janus.janus_sections import Sections, without
from cloudslice.rooms.janus.roster import FeedId, Source, read_sections
from cloudslice.rooms.janus.session import JanusSession
from cloudslice.rooms.remote.remote_tracks import RemoteTrack
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice.webrtc.candidates import Candidate
from cloudslice.webrtc.connection_user import CloseReason, ConnectionUser
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.sdp import SdpError
from cloudslice.webrtc.transport_parameters import parse_candidate
from cloudslice.webrtc.udp.port import UdpPort

_LOOK_S = 1.0
"""So often it is looked for what nobody wants any more."""
_RETRY_S = 1.0
"""After so long, what Janus did not give us is asked for again."""
_RETRY_AFTER_LEAVING_S = 0.1
_LAYERS = {"substream": 2, "temporal": 2, "fallback": 2_000_000, "spatial_layer": 2}
"""The best of simulcast and SVC. While a video was off, its layers are not seen: `fallback`, in
microseconds, keeps Janus from taking the one that we want for missing at once."""


Connect = Callable[[ConnectionUser], PeerConnection]
"""Makes a connection."""


class SubscriptionLostError(Exception):
    """The connection can receive nothing more; the text says why."""


@dataclass(slots=True)
class _Offer:
    """An offer that is not answered yet."""

    data: Message
    """The event that it came with."""
    sdp: str
    gone: frozenset[FeedId] = frozenset()
    """Who has left since, and may be back: what the event says of them does not hold any more."""


class Subscription:
    """See the module. Run `run`, and `close` it at last.

    Args:
        session: with Janus.
        join: the body of the request to join the room as a subscriber, but for its streams.
        connect: makes our connection.
        port: on which it is.
        clock: for what nobody wants any more.
    """

    def __init__(
        self,
        session: JanusSession,
        join: Message,
        connect: Connect,
        port: UdpPort,
        clock: Clock,
    ) -> None:
        self._session = session
        self._join = join
        self._port = port
        self._clock = clock
        self._connect = connect
        self._connection: PeerConnection | None = None
        self._handle: int | None = None
        self._tracks: dict[Source, RemoteTrack] = {}
        """All that are published."""
        self._sections = Sections()
        self._retry_at: dict[Source, float] = {}
        self._feeds: frozenset[FeedId] = frozenset()
        """Who publishes."""
        self._offers: deque[_Offer] = deque()
        self._candidates: list[Candidate] = []
        """Where Janus may be reached, besides what its offer says."""
        self._has_news = asyncio.Event()
        self._is_connected = asyncio.Event()
        self._is_unsure = False
        self._failure = ""

    def set_tracks(self, tracks: Mapping[Source, RemoteTrack], feeds: Iterable[FeedId]) -> None:
        """What is sent now; what is not is received no more.

        Args:
            tracks: by what they are of.
            feeds: who publishes; of who does not any more Janus has taken the sections away.
        """
        self.catch_up()
        former, self._feeds = self._feeds, frozenset(feeds)
        for each in self._offers:
            each.gone |= former - self._feeds
        self._tracks = dict(tracks)
        self._sections.set_tracks(self._tracks, former - self._feeds)
        for track in self._tracks.values():
            track.on_change = self._wake
        self._retry_at = {each: at for each, at in self._retry_at.items() if each in tracks}
        self._wake()

    def resync(self) -> None:
        """What Janus has told lately is lost: see which sections still have their owners."""
        self._is_unsure = True
        self._wake()

    @property
    def is_needed(self) -> bool:
        """Whether there is something to receive."""
        now = self._clock.monotonic()
        return any(each.is_wanted(now) for each in self._tracks.values())

    async def connected(self) -> None:
        """Wait until media can come, or `run` ends."""
        await self._is_connected.wait()

    def catch_up(self) -> None:
        """Hand on all that has come."""
        if self._connection is not None:
            self._port.catch_up([self._connection.peer])

    @property
    def media_counts(self) -> Counter[str]:
        """What was received and dropped."""
        return Counter() if self._connection is None else self._connection.counts

    async def run(self) -> None:
        """Subscribe to what is wanted, until cancelled.

        Raises:
            SubscriptionLostError: media comes no more, or what comes cannot be told apart any more.
        """
        try:
            while True:
                await self._wait()
                if not self._session.is_connected:
                    continue  # until `resync`, or media is lost, too
                await self._answer_offers()
                await self._look_again()
                await self._update()
                await self._switch()
        except (JanusError, UnreachableError, SdpError) as error:
            raise SubscriptionLostError(str(error)) from error
        finally:
            self._is_connected.set()

    def close(self) -> None:
        """Receive nothing more."""
        self._sections.release_others({})
        if self._connection is not None:
            self._connection.close()

    def on_connected(self) -> None:
        """See `ConnectionUser`."""
        self._is_connected.set()

    def on_closed(self, reason: CloseReason, failure: str) -> None:
        """See `ConnectionUser`."""
        self._fail(f"media connection: {reason.value} {failure}".rstrip())

    async def _wait(self) -> None:
        if self._failure:
            raise SubscriptionLostError(self._failure)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S if self._tracks else None):
                await self._has_news.wait()
        self._has_news.clear()
        if self._failure:
            raise SubscriptionLostError(self._failure)

    async def _look_again(self) -> None:
        """Have Janus offer what there is, if we are not sure of it."""
        if self._is_unsure and self._handle is not None:
            await self._session.message(self._handle, {"request": "configure", "update": True})
            await self._answer_offers()
        self._is_unsure = False

    async def _update(self) -> None:
        """Subscribe to what is wanted, and to nothing else."""
        now = self._clock.monotonic()
        wanted = {each for each, track in self._tracks.items() if track.is_wanted(now)}
        there = {each for each in self._sections.owners.values() if each is not None}
        new = [each for each in wanted - there if self._retry_at.get(each, now) <= now]
        old = [each for each in there - wanted if each in self._tracks]
        if not new and not old:
            return
        self.catch_up()
        self._sections.release(old)
        self._retry_at |= dict.fromkeys(new, now + _RETRY_S)
        try:
            await self._ask(new, old)
        except JanusError as error:
            if error.code != NO_SUCH_FEED:
                raise
            # One of them has left just now, and none was taken.
            self._retry_at |= dict.fromkeys(new, now + _RETRY_AFTER_LEAVING_S)
        await self._answer_offers()

    async def _ask(self, new: Iterable[Source], old: Iterable[Source]) -> None:
        subscribe: list[Message] = [
            {"feed": each.feed, "mid": each.mid, "send": False, **_LAYERS} for each in new
        ]
        if self._handle is None:
            handle = await self._session.attach(self._hear)
            try:
                await self._session.message(handle, self._join | {"streams": subscribe})
            except JanusError:
                await self._session.detach(handle)
                raise
            self._handle = handle
            return
        body: Message = {"request": "update"}
        if subscribe:
            body["subscribe"] = subscribe
        unsubscribe = [{"feed": each.feed, "mid": each.mid} for each in old]
        if unsubscribe:
            body["unsubscribe"] = unsubscribe
        await self._session.message(self._handle, body)

    async def _answer_offers(self) -> None:
        while self._offers:
            await self._answer(self._offers.popleft())

    async def _answer(self, taken: "_Offer") -> None:
        assert self._handle is not None  # noqa: S101 - Janus offers to a handle that has joined
        is_first = self._connection is None
        if self._connection is None:
            self._connection = self._connect(self)
        offer = parse_remote_description(taken.sdp)
        if "streams" in taken.data:
            owners = without(taken.gone, read_sections(taken.data["streams"]))
        else:
            sending = {each.mid for each in offer.sections if each.direction.sends}
            former = self._sections.owners
            owners = {each: former[each] if each in sending else None for each in former}
        self.catch_up()
        self._sections.release_others(owners)
        answer = self._connection.answer(offer)
        self._add_candidates()
        # Joining, Janus takes no heed of `send`.
        now = self._clock.monotonic()
        self._sections.set_owners(owners, self._connection.streams, are_on=is_first, now=now)
        await self._session.message(
            self._handle,
            {"request": "start"},
            {"type": "answer", "sdp": answer, "trickle": False},
        )
        await self._switch()

    async def _switch(self) -> None:
        """Switch on and off what is to be, and hear the sections that have another owner now."""
        switches = self._sections.find_switches(self._clock.monotonic())
        if self._handle is None or not switches.on:
            return
        streams = [{"mid": section, "send": is_on} for section, is_on in switches.on.items()]
        try:
            await self._session.message(self._handle, {"request": "configure", "streams": streams})
        except SignallingLostError:
            self._sections.forget_switches(switches)
            return
        self.catch_up()
        self._sections.confirm_switches(switches, self._clock.monotonic())

    def _hear(self, message: Message) -> None:
        kind = message.get("janus")
        if kind == "event":
            data: dict[str, Any] = (message.get("plugindata") or {}).get("data") or {}
            jsep = message.get("jsep")
            if isinstance(jsep, dict) and jsep.get("type") == "offer":
                self._offers.append(_Offer(data, str(jsep.get("sdp"))))
                self._wake()
        elif kind == "trickle":
            text = (message.get("candidate") or {}).get("candidate")
            candidate = parse_candidate(str(text).removeprefix("candidate:")) if text else None
            if candidate is not None:
                self._candidates.append(candidate)
                self._add_candidates()
        elif kind in ("hangup", "detached"):
            self._fail(f"Janus has ended the media connection: {message.get('reason', kind)}")

    def _add_candidates(self) -> None:
        """Try where Janus may be reached, too, once its offer is taken (RFC 8838)."""
        if self._connection is not None and self._connection.negotiation is not None:
            for candidate in self._candidates:
                self._connection.add_candidate(candidate)
            self._candidates.clear()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._wake()

    def _wake(self) -> None:
        self._has_news.set()
