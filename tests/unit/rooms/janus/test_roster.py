"""Who publishes what, by what Janus tells."""

from typing import Any

from cloudslice.ids import TrackKind
from cloudslice.rooms.janus.roster import Roster, Source, read_sections

AUDIO, VIDEO, AUX = TrackKind.AUDIO, TrackKind.VIDEO, TrackKind.AUX
BIG = (1 << 63) + 1


def stream(mid: str, kind: str, codec: str, **more: Any) -> dict[str, Any]:
    return {"mid": mid, "type": kind, "codec": codec, **more}


def publisher(feed: int | str, *streams: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": feed, "display": f"name of {feed}", "streams": [*streams], **more}


def sources(*streams: dict[str, Any]) -> dict[TrackKind, str]:
    roster = Roster()
    roster.take({"publishers": [publisher(1, *streams)]})
    return {kind: source.mid for kind, source in roster.feeds[1].sources().items()}


def test_publishers_come_and_go() -> None:
    roster = Roster()
    assert roster.take({"publishers": [publisher(BIG), publisher("text")]})
    assert list(roster.feeds) == [BIG, "text"]
    assert roster.feeds[BIG].display == f"name of {BIG}"
    assert not roster.take({"joining": {"id": 5}})
    assert roster.take({"unpublished": BIG})
    assert not roster.take({"leaving": BIG})
    assert roster.take({"kicked": "text"})
    assert not roster.feeds


def test_a_publisher_may_publish_something_else() -> None:
    roster = Roster()
    roster.take({"publishers": [publisher(1, stream("0", "audio", "opus"))]})
    assert roster.take({"publishers": [publisher(1, stream("0", "audio", "opus", disabled=True))]})
    assert roster.feeds[1].sources() == {}


def test_a_whole_list_takes_the_place_of_what_was_known() -> None:
    roster = Roster()
    roster.take({"publishers": [publisher(1), publisher(2)]})
    assert roster.replace({"publishers": [publisher(2), publisher(3)]})
    assert list(roster.feeds) == [2, 3]
    assert not roster.replace({"publishers": [publisher(2), publisher(3)]})


def test_streams_are_told_apart() -> None:
    camera, microphone = stream("1", "video", "vp8"), stream("0", "audio", "opus")
    second = stream("2", "video", "h264")
    screen = stream("3", "video", "VP8", description="My Screen")
    assert sources(microphone, camera) == {AUDIO: "0", VIDEO: "1"}
    assert sources(camera, second) == {VIDEO: "1", AUX: "2"}
    assert sources(screen, camera, microphone) == {AUDIO: "0", VIDEO: "1", AUX: "3"}
    assert sources(screen, camera, second) == {VIDEO: "1", AUX: "3"}
    assert sources(screen) == {AUX: "3"}


def test_what_cannot_be_received_is_left_out_and_known_by_name() -> None:
    streams = (stream("0", "audio", "pcmu"), stream("1", "video", "h263"), stream("2", "data", ""))
    assert sources(*streams) == {}
    roster = Roster()
    roster.take({"publishers": [publisher(1, *streams)]})
    assert roster.feeds[1].unknown_codecs() == ["pcmu", "h263"]


def test_a_moderator_mutes_and_unmutes() -> None:
    roster = Roster()
    roster.take({"publishers": [publisher(1, stream("0", "audio", "opus"))]})
    assert roster.take({"id": 1, "mid": "0", "moderation": "muted"})
    assert roster.feeds[1].sources() == {}
    assert roster.take({"id": 1, "mid": "0", "moderation": "unmuted"})
    assert roster.feeds[1].sources() == {AUDIO: Source(1, "0")}
    assert not roster.take({"id": 2, "mid": "0", "moderation": "muted"})


def test_odd_messages_are_harmless() -> None:
    roster = Roster()
    odd: list[dict[str, Any]] = [
        {"publishers": None},
        {"publishers": [None, {}, {"id": None}, {"id": 1.5}]},
        {"publishers": {"id": 1}},
        {"unpublished": "ok"},
        {"moderation": "muted"},
    ]
    assert not any(map(roster.take, odd))
    assert roster.take({"publishers": [{"id": 1, "streams": [None, {}]}]})
    assert roster.feeds[1].sources() == {}


def test_who_only_holds_a_place_is_nobody() -> None:
    assert not Roster().take({"publishers": [publisher(1, dummy=True)]})


def test_sections_are_read_with_their_owners() -> None:
    streams = [
        {"mid": "0", "feed_id": BIG, "feed_mid": "a"},
        {"mid": "1", "active": False},
        {"mid": "2", "feed_id": "text", "feed_mid": "b"},
        None,
    ]
    assert read_sections(streams) == {"0": Source(BIG, "a"), "1": None, "2": Source("text", "b")}
    assert read_sections(None) == {}
