"""Whose a datagram is: the connections of a port, and what leads to each.

The native library finds a connection by the path that a datagram came on. What comes on other paths
is found here: a connectivity check by the ufrag that it names, the answer to one by its transaction
id, and media by its SSRC, if SRTP proves it.
"""

import itertools
from collections import OrderedDict, deque
from collections.abc import Collection

from cloudslice.webrtc import stun
from cloudslice.webrtc.native.native_events import Stranger
from cloudslice.webrtc.native.native_port import NativePeer, NativePort
from cloudslice.webrtc.udp.connection import Connection

_PATHS_PER_CONNECTION = 16
_MAX_CHECKS = 4096
"""Connectivity checks of ours whose answers are waited for."""
_BINDING_REQUEST = b"\x00\x01"
"""The first bytes of a connectivity check (RFC 8489, 5); its transaction id is in bytes 8 to 19."""


class _Owner:
    """What leads to a connection."""

    def __init__(self, connection: Connection, peer: NativePeer) -> None:
        self.connection = connection
        self.peer = peer
        self.ufrags: frozenset[str] = frozenset()
        self.paths: deque[bytes] = deque()
        self.ssrcs: set[int] = set()


class Owners:
    """The connections of a port.

    Args:
        native: where their datagrams come in.
    """

    def __init__(self, native: NativePort) -> None:
        self._native = native
        self._numbers = itertools.count(1)
        self._owners: dict[int, _Owner] = {}
        """By the number that events name them by."""
        self._by_ufrag: dict[str, _Owner] = {}
        self._by_ssrc: dict[int, set[int]] = {}
        """The numbers of those that receive an SSRC."""
        self._checks: OrderedDict[bytes, int] = OrderedDict()
        """The numbers of those that sent connectivity checks, by transaction id, the oldest
        first."""

    @property
    def connections(self) -> list[Connection]:
        """All of them."""
        return [each.connection for each in self._owners.values()]

    def __len__(self) -> int:
        return len(self._owners)

    def __contains__(self, number: int) -> bool:
        return number in self._owners

    def connection(self, number: int) -> Connection | None:
        """The one that events name so."""
        owner = self._owners.get(number)
        return None if owner is None else owner.connection

    def add(self, connection: Connection) -> NativePeer:
        """A new one, and its part in the native library."""
        number = next(self._numbers)
        peer = NativePeer(self._native, number)
        self._owners[number] = _Owner(connection, peer)
        return peer

    def remove(self, peer: NativePeer) -> None:
        """Forget a connection; harmless when that was done."""
        owner = self._owners.get(peer.owner)
        if owner is None:
            return
        self.set_ufrags(peer, ())
        for ssrc in list(owner.ssrcs):
            self.forget_ssrc(peer, ssrc)
        del self._owners[peer.owner]
        peer.close()

    def set_ufrags(self, peer: NativePeer, ufrags: Collection[str]) -> None:
        """Connectivity checks that name one of these are for this peer's connection; no longer
        those that name a former one."""
        owner = self._owners[peer.owner]
        for ufrag in owner.ufrags.difference(ufrags):
            self._by_ufrag.pop(ufrag, None)
        owner.ufrags = frozenset(ufrags)
        for ufrag in owner.ufrags:
            self._by_ufrag[ufrag] = owner

    def add_path(self, peer: NativePeer, path: bytes) -> None:
        """What comes on `path` is this peer's. Of a peer that moves again and again the oldest
        paths are forgotten."""
        peer.add_path(path)
        paths = self._owners[peer.owner].paths
        if path in paths:
            return
        paths.append(path)
        if len(paths) > _PATHS_PER_CONNECTION:
            peer.remove_path(paths.popleft())

    def note_ssrc(self, peer: NativePeer, ssrc: int) -> None:
        """The peer's connection receives this SSRC: by it media from a new address is offered to
        it."""
        self._owners[peer.owner].ssrcs.add(ssrc)
        self._by_ssrc.setdefault(ssrc, set()).add(peer.owner)

    def forget_ssrc(self, peer: NativePeer, ssrc: int) -> None:
        """It receives it no longer."""
        owner = self._owners.get(peer.owner)
        if owner is not None:
            owner.ssrcs.discard(ssrc)
        numbers = self._by_ssrc.get(ssrc, set())
        numbers.discard(peer.owner)
        if not numbers:
            self._by_ssrc.pop(ssrc, None)

    def note_check(self, peer: NativePeer, data: bytes) -> None:
        """The peer's ICE agent sends `data`. An answer to a request names nobody, and may come on a
        path that is nobody's yet: it is known by its transaction id."""
        if data[:2] == _BINDING_REQUEST:
            self._checks[data[8:20]] = peer.owner
            if len(self._checks) > _MAX_CHECKS:
                self._checks.popitem(last=False)

    def find_by_check(self, data: bytes) -> Connection | None:
        """Whom a STUN datagram is for, by what it says."""
        try:
            message = stun.parse(data)
        except stun.StunError:
            return None
        if message.kind is stun.StunKind.REQUEST:
            owner = self._by_ufrag.get(message.addressed_ufrag)
        else:
            owner = self._owners.get(self._checks.get(message.transaction_id, 0))
        return None if owner is None else owner.connection

    def find_by_proof(self, stranger: Stranger) -> Connection | None:
        """Whose media has come on an unknown path, which is the connection's then."""
        for number in self._by_ssrc.get(stranger.ssrc, ()):
            if self._owners[number].peer.adopt(stranger):
                return self._owners[number].connection
        return None
