"""Which media section carries whose stream, which sections are on, and whose track hears them.

Janus uses a section again, with its SSRC, for another publisher's stream. That nothing of A is ever
taken for B's, a section is bound to a track only when Janus has said that its stream is on, and
whatever came of it until then is dropped. A section whose owner has left belongs to nobody.
"""

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass

from cloudslice.rooms.janus.roster import FeedId, Source
from cloudslice.rooms.remote.remote_tracks import RemoteTrack
from cloudslice.webrtc.streams import Streams

Owners = Mapping[str, Source | None]
"""Whose stream each section carries; None: nobody's."""


@dataclass(frozen=True, slots=True)
class Switches:
    """What Janus is to be asked for.

    Attributes:
        on: whether it is to send each of these sections' media.
        fresh: those of them that have another owner than the one who is heard.
    """

    on: Mapping[str, bool]
    fresh: Mapping[str, Source]


class Sections:
    """See the module."""

    def __init__(self) -> None:
        self._owners: Owners = {}
        self._tracks: Mapping[Source, RemoteTrack] = {}
        self._streams: Streams | None = None
        self._bound: dict[str, Source] = {}
        """Sections whose media is handed on."""
        self._on: dict[str, bool] = {}
        """Whether Janus sends a section's media."""

    @property
    def owners(self) -> Owners:
        """By the last offer, less those who have left since."""
        return self._owners

    def set_tracks(self, tracks: Mapping[Source, RemoteTrack], gone: Container[FeedId]) -> None:
        """What is published is this now, and these publish no more."""
        for section, source in list(self._bound.items()):
            if tracks.get(source) is not self._tracks.get(source):
                self._unbind(section)
        self._owners = without(gone, self._owners)
        self._tracks = tracks

    def release(self, sources: Collection[Source]) -> None:
        """Hand nothing on of these."""
        for section in [each for each, source in self._bound.items() if source in sources]:
            self._unbind(section)

    def release_others(self, owners: Owners) -> None:
        """Hand nothing on of sections that do not go on with the same owner."""
        for section, source in list(self._bound.items()):
            if owners.get(section) != source:
                self._unbind(section)

    def set_owners(self, owners: Owners, streams: Streams, *, are_on: bool, now: float) -> None:
        """An offer was taken.

        Args:
            owners: of all sections, by the offer.
            streams: those of the connection, as it was negotiated.
            are_on: whether Janus sends what is new in the offer.
            now: the monotonic second.
        """
        for section, owner in owners.items():
            if owner != self._owners.get(section):
                self._on[section] = are_on
        self._owners, self._streams = owners, streams
        self._bind(self._bound, now)  # where other formats were agreed on, to another receiver

    def find_switches(self, now: float) -> Switches:
        """What is to be switched at monotonic second `now`, that what is wanted comes."""
        on: dict[str, bool] = {}
        fresh: dict[str, Source] = {}
        receivers = self._streams.receivers if self._streams is not None else {}
        for section, source in self._owners.items():
            track = self._tracks.get(source) if source is not None else None
            if source is None or track is None or section not in receivers:
                continue
            is_on = track.is_on(now)
            if self._bound.get(section) != source:
                fresh[section] = source
            elif is_on is self._on.get(section):
                continue
            else:
                track.switched(is_on=is_on, now=now)
            on[section] = is_on
        return Switches(on, fresh)

    def forget_switches(self, switches: Switches) -> None:
        """Nobody knows whether Janus has heard of them."""
        for section in switches.on:
            self._on.pop(section, None)

    def confirm_switches(self, switches: Switches, now: float) -> None:
        """Janus has done what it was asked for: media that comes from now on is the owners'."""
        self._on |= switches.on
        fresh = switches.fresh.items()
        self._bind({each: owner for each, owner in fresh if self._owners.get(each) == owner}, now)

    def _bind(self, sections: Mapping[str, Source], now: float) -> None:
        """Hand on to the sections' tracks what comes from now on."""
        if self._streams is None:
            return
        for section, source in list(sections.items()):
            track = self._tracks.get(source)
            receiver = self._streams.receivers.get(section)
            if track is None or receiver is None:
                continue
            if self._bound.get(section) != source:
                # Whatever has come so far is nobody's.
                receiver = self._streams.renew(section) or receiver
            elif track.is_bound_to(receiver):
                continue
            self._bound[section] = source
            track.bind(receiver)
            track.switched(is_on=self._on.get(section, False), now=now)

    def _unbind(self, section: str) -> None:
        source = self._bound.pop(section, None)
        track = self._tracks.get(source) if source is not None else None
        if track is not None:
            track.bind(None)


def without(gone: Container[FeedId], owners: Owners) -> Owners:
    """The same sections, of which those of `gone` belong to nobody."""
    return {
        section: None if source is not None and source.feed in gone else source
        for section, source in owners.items()
    }
