"""Who publishes what in a room, by what Janus tells a participant of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloudslice.codecs.catalog import CATALOG
from cloudslice.ids import TrackKind

FeedId = int | str
"""A participant's id: a whole number of 64 bits, or a text where rooms have string ids."""

_CODECS = {
    "audio": frozenset(each.name.lower() for each in CATALOG.audio),
    "video": frozenset(each.name.lower() for each in CATALOG.video),
}


@dataclass(frozen=True, slots=True)
class Source:
    """One stream of a publisher."""

    feed: FeedId
    mid: str
    """Of the publisher's own connection."""


@dataclass(frozen=True, slots=True)
class PublishedStream:
    """What is known of it."""

    mid: str
    kind: str
    """"audio" or "video"; "data" is of no use to us."""
    codec: str
    description: str
    is_sent: bool
    """Not while it is disabled, or muted by a moderator."""

    @property
    def is_known(self) -> bool:
        """Whether we can receive its codec."""
        return self.codec in _CODECS.get(self.kind, frozenset())


@dataclass(frozen=True, slots=True)
class Feed:
    """A publisher."""

    feed_id: FeedId
    display: str
    streams: tuple[PublishedStream, ...]

    def sources(self) -> dict[TrackKind, Source]:
        """The streams that are sliced: the first audio, the first video, and as a screen share the
        first video whose description says "screen", or else the second one."""
        sent = [each for each in self.streams if each.is_sent and each.is_known]
        audio = [each.mid for each in sent if each.kind == "audio"]
        videos = [each for each in sent if each.kind == "video"]
        screens = [each.mid for each in videos if "screen" in each.description.lower()]
        cameras = [each.mid for each in videos if each.mid not in screens]
        aux = screens or cameras[1:]
        chosen = {TrackKind.AUDIO: audio, TrackKind.VIDEO: cameras, TrackKind.AUX: aux}
        return {kind: Source(self.feed_id, mids[0]) for kind, mids in chosen.items() if mids}

    def unknown_codecs(self) -> list[str]:
        """The codecs of streams that we cannot receive."""
        return [
            each.codec
            for each in self.streams
            if each.is_sent and each.kind in _CODECS and not each.is_known
        ]


class Roster:
    """Follows the events of a participant's handle (janus_videoroom.c)."""

    def __init__(self) -> None:
        self._feeds: dict[FeedId, Feed] = {}

    @property
    def feeds(self) -> Mapping[FeedId, Feed]:
        """Who publishes, in the order in which they began."""
        return self._feeds

    def take(self, data: Mapping[str, Any]) -> bool:
        """Take in what Janus tells; whether anything is another way now."""
        before = dict(self._feeds)
        for publisher in _objects(data.get("publishers")):
            feed = _read_feed(publisher)
            if feed is not None:
                self._feeds[feed.feed_id] = feed
        for name in ("unpublished", "leaving", "kicked"):
            self._feeds.pop(data.get(name, ""), None)
        if "moderation" in data:
            self._moderate(data)
        return before != self._feeds

    def replace(self, data: Mapping[str, Any]) -> bool:
        """Take in a whole list: who is not in it has left."""
        before, self._feeds = self._feeds, {}
        self.take(data)
        return before != self._feeds

    def _moderate(self, data: Mapping[str, Any]) -> None:
        feed = self._feeds.get(data.get("id", ""))
        if feed is not None:
            is_sent = data["moderation"] != "muted"
            streams = tuple(
                replace(each, is_sent=is_sent) if each.mid == data.get("mid") else each
                for each in feed.streams
            )
            self._feeds[feed.feed_id] = replace(feed, streams=streams)


def _read_feed(publisher: Mapping[str, Any]) -> Feed | None:
    feed_id = publisher.get("id")
    if not isinstance(feed_id, int | str) or publisher.get("dummy"):
        return None
    streams = (
        PublishedStream(
            str(each.get("mid", "")),
            str(each.get("type", "")),
            str(each.get("codec", "")).lower(),
            str(each.get("description", "")),
            not each.get("disabled") and not each.get("moderated"),
        )
        for each in _objects(publisher.get("streams"))
    )
    return Feed(feed_id, str(publisher.get("display") or ""), tuple(streams))


def read_sections(streams: object) -> dict[str, Source | None]:
    """Whose stream each section of our connection carries, by its mid: the `streams` of the event
    that an offer comes with."""
    sections: dict[str, Source | None] = {}
    for each in _objects(streams):
        feed, mid = each.get("feed_id"), each.get("feed_mid")
        is_taken = isinstance(feed, int | str) and isinstance(mid, str)
        sections[str(each.get("mid"))] = Source(feed, mid) if is_taken else None  # type: ignore[arg-type]
    return sections


def _objects(given: object) -> Iterable[Mapping[str, Any]]:
    return [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
