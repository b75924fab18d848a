"""Which session a datagram belongs to: found by the ufrag that a connectivity check names, then by
the address that a valid check or authentic media came from."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from cloudslice.faults import Faults
from cloudslice.rtp.session import Session

_SOURCES_PER_SESSION = 16


@dataclass(slots=True)
class _Place:
    """What leads to a session."""

    ufrag: str
    sources: list[bytes] = field(default_factory=list)
    """Where valid checks and authentic media came from, oldest first; datagrams from elsewhere are
    not the peer's."""
    guard: Faults = field(default_factory=lambda: Faults("session"))


class Routes:
    """All sessions of a port, and what leads to each of them."""

    def __init__(self) -> None:
        self._places: dict[Session, _Place] = {}
        self._by_ufrag: dict[str, Session] = {}
        self._by_source: dict[bytes, Session] = {}
        self._by_ssrc: dict[int, Session | None] = {}
        self.by_source = self._by_source.get
        """The session that has a raw socket address, or None."""
        self.by_ufrag = self._by_ufrag.get
        """The session that has given itself this ufrag, or None."""

    def __iter__(self) -> Iterator[Session]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, session: object) -> bool:
        return session in self._places

    def add(self, session: Session) -> None:
        """Have `session` found by its ufrag."""
        self.forget_ssrcs()
        self._places[session] = _Place(session.ice.ufrag)
        self._by_ufrag[session.ice.ufrag] = session

    def update(self, session: Session) -> None:
        """It has another ufrag now."""
        place = self._places[session]
        del self._by_ufrag[place.ufrag]
        place.ufrag = session.ice.ufrag
        self._by_ufrag[place.ufrag] = session

    def remove(self, session: Session) -> None:
        """Forget `session`; harmless when it is not there."""
        self.forget_ssrcs()
        place = self._places.pop(session, None)
        if place is not None:
            del self._by_ufrag[place.ufrag]
            for source in place.sources:
                self._by_source.pop(source, None)

    def by_ssrc(self, ssrc: int) -> Session | None:
        """The only session that receives an SSRC or was told of it; None if there are more.

        Rarely asked, so it is looked up anew after each `forget_ssrcs` only.
        """
        if not self._by_ssrc:
            for session in self._places:
                for announced, receiver in session.streams:
                    ssrcs = (
                        announced if receiver is None or receiver.ssrc is None else [receiver.ssrc]
                    )
                    for each in ssrcs:
                        self._by_ssrc[each] = None if each in self._by_ssrc else session
        return self._by_ssrc.get(ssrc)

    def forget_ssrcs(self) -> None:
        """Sessions or their SSRCs have changed, or may have."""
        self._by_ssrc.clear()

    def lead(self, source: bytes, session: Session) -> None:
        """What comes from a raw socket address is the session's from now on. Of a peer that moves
        again and again the oldest addresses are forgotten."""
        former = self._by_source.get(source)
        if former is session:
            return
        if former is not None:
            self._places[former].sources.remove(source)
        self._by_source[source] = session
        sources = self._places[session].sources
        sources.append(source)
        if len(sources) > _SOURCES_PER_SESSION:
            del self._by_source[sources.pop(0)]

    def guard(self, session: Session) -> Faults | None:
        """What logs the session's errors, if it is there."""
        place = self._places.get(session)
        return None if place is None else place.guard
