"""Our PeerConnection against itself over UDP: one sends many anchors' media, one receives it."""

from collections.abc import Iterator

import pytest

from cloudslice.webrtc.connection_user import ConnectionState
from helpers.connection_pair import Anchor, ConnectionPair


@pytest.fixture(params=[False, True], ids=["full and full", "full and lite"])
def pair(request: pytest.FixtureRequest) -> Iterator[ConnectionPair]:
    made = ConnectionPair(is_lite=request.param)
    yield made
    made.close()
    assert made.sender.port.errors == made.receiver.port.errors == 0


def names(count: int, *, first: int = 0) -> list[str]:
    return [f"anchor {first + index:02}" for index in range(count)]


def assert_complete(pair: ConnectionPair, *anchors: Anchor) -> None:
    """Each anchor's audio came whole and in order, and nobody else's among it."""
    pair.hand_out()
    for anchor in anchors:
        assert anchor.sent, anchor.name
        assert anchor.sink.packets == anchor.sent, anchor.name


def assert_pictures(pair: ConnectionPair, *anchors: Anchor, within_s: float = 0.5) -> None:
    """A key frame of each, asked for at the same time, is its own."""
    wanted = pair.stats.keyframes_wanted
    keyframes = pair.keyframes(anchors, within_s)
    assert [each.data for each in keyframes] == [each.keyframe for each in anchors]
    assert pair.stats.keyframes_wanted >= wanted + len(anchors)


def test_one_anchor_is_heard_and_seen(pair: ConnectionPair) -> None:
    [alice] = pair.add("alice")
    pair.connect()
    pair.run(2)
    assert_complete(pair, alice)
    assert len(alice.sent) in (100, 101)
    assert_pictures(pair, alice)
    assert alice.sink.sender_times > 0
    assert pair.stats.round_trip_s is not None
    assert pair.stats.remb_kbps == 2500


def test_it_takes_a_few_round_trips_to_connect(pair: ConnectionPair) -> None:
    """Whichever side finds the path first: nothing has to be sent again."""
    pair.add("alice")
    pair.connect()
    assert pair.clock.now < 0.3


def test_who_closes_says_goodbye(pair: ConnectionPair) -> None:
    pair.add("alice")
    pair.connect()
    pair.sender.connection.close()
    pair.run(0.04)
    assert pair.receiver.heard == ["connected", "left"]
    assert pair.sender.heard == ["connected", "ended"]


def test_a_connection_outlives_consent_checks(pair: ConnectionPair) -> None:
    """For half a minute nothing is sent but what keeps it."""
    [alice] = pair.add("alice")
    pair.connect()
    alice.is_paused = True
    pair.negotiate()
    pair.run(30)
    assert pair.sender.connection.state is ConnectionState.CONNECTED
    assert pair.receiver.connection.state is ConnectionState.CONNECTED


def test_a_peer_that_is_gone_is_noticed(pair: ConnectionPair) -> None:
    """After the timeout of 10 s, on both sides, though none has heard a goodbye."""
    pair.add("alice")
    pair.connect()
    pair.sender.port.is_cut = pair.receiver.port.is_cut = True
    pair.run(9)
    assert pair.sender.heard == pair.receiver.heard == ["connected"]
    pair.run(3)
    assert pair.sender.heard == pair.receiver.heard == ["connected", "lost"]


def test_25_anchors_are_heard_and_seen_on_one_connection(pair: ConnectionPair) -> None:
    """Reports on fifty streams go in datagrams that any network carries."""
    anchors = pair.add(*names(25))
    pair.connect()
    pair.run(1)
    assert_pictures(pair, *anchors)
    assert_complete(pair, *anchors)
    assert pair.receiver.port.largest <= 1200


def test_what_is_lost_is_sent_again_for_25_anchors(pair: ConnectionPair) -> None:
    """Three of a hundred RTP packets, retransmitted ones too: audio and pictures are whole."""
    anchors = pair.add(*names(25))
    pair.connect()
    pair.run(0.1)  # what is lost before the first packet nobody knows of
    pair.senders.loss = 0.03
    pair.run(2)
    assert_pictures(pair, *anchors, within_s=2)
    pair.senders.loss = 0
    pair.run(1)
    assert_complete(pair, *anchors)
    assert pair.stats.packets_lost > 100
    assert pair.stats.packets_nacked > 100


def test_anchors_come_later(pair: ConnectionPair) -> None:
    """Nobody at first, then five at a time; those who are there notice nothing."""
    anchors = pair.add(*names(1))
    pair.connect()
    for first in range(1, 25, 6):
        pair.run(0.3)
        anchors += pair.add(*names(6, first=first))
        pair.negotiate()
    assert len(anchors) == 25
    pair.run(0.5)
    assert_pictures(pair, *anchors)
    assert_complete(pair, *anchors)
    assert [anchor.sink.restarts for anchor in anchors] == [0] * 25


def test_paused_anchors_go_on_where_they_were(pair: ConnectionPair) -> None:
    """With the same tracks: nobody has to be introduced again."""
    anchors = pair.add(*names(25))
    pair.connect()
    pair.run(0.5)
    paused = anchors[5:15]
    for anchor in paused:
        anchor.is_paused = True
    pair.negotiate()
    counts = [len(anchor.sent) for anchor in anchors]
    pair.run(0.5)
    grown = [len(anchor.sent) - before for anchor, before in zip(anchors, counts, strict=True)]
    assert [count == 0 for count in grown] == [anchor.is_paused for anchor in anchors]
    assert_complete(pair, *anchors)
    for anchor in paused:
        anchor.is_paused = False
    pair.negotiate()
    pair.run(0.5)
    assert_pictures(pair, *anchors)
    assert_complete(pair, *anchors)
    assert [anchor.sink.restarts for anchor in anchors] == [0] * 25


def test_removed_anchors_leave_their_places_to_others(pair: ConnectionPair) -> None:
    """By new mids in the places (RFC 9429, 5.2.2)."""
    anchors = pair.add(*names(25))
    pair.connect()
    pair.run(0.5)
    left = anchors[::5]
    for anchor in left:
        anchor.is_removed = True
    pair.negotiate()
    pair.run(0.3)
    stayed = [anchor for anchor in anchors if anchor not in left]
    assert_complete(pair, *anchors)
    receivers = pair.receiver.connection.streams.receivers
    assert set(receivers) == {mid for anchor in stayed for mid in anchor.mids}
    came = [
        pair.put_in_place_of(former, f"guest {index}", mids=(f"{index}a", f"{index}v"))
        for index, former in enumerate(left)
    ]
    pair.negotiate()
    pair.run(0.5)
    assert_pictures(pair, *stayed, *came)
    assert_complete(pair, *anchors, *came)


def test_a_section_is_used_for_somebody_else(pair: ConnectionPair) -> None:
    """With its mid, by another msid and other SSRCs, as SFUs do it; the former one's sink hears
    nothing of the new one, and each anchor's audio is whole."""
    anchors = pair.add(*names(25))
    pair.connect()
    pair.run(0.5)
    former = anchors[3:23:4]
    came = [pair.put_in_place_of(anchor, f"guest {index}") for index, anchor in enumerate(former)]
    pair.negotiate()
    pair.run(0.5)
    stayed = [anchor for anchor in anchors if anchor not in former]
    assert_pictures(pair, *stayed, *came)
    assert_complete(pair, *anchors, *came)
    assert pair.receiver.connection.counts["unassigned"] == 0
    assert pair.receiver.connection.counts["not_authentic"] == 0


def test_who_offers_restarts_ice_and_media_goes_on(pair: ConnectionPair) -> None:
    """With new credentials on both sides, which the sides are known by from then on."""
    [alice] = pair.add("alice")
    pair.connect()
    pair.run(0.5)
    before = [end.connection.transport.ice.local for end in (pair.sender, pair.receiver)]
    pair.negotiate(restarts_ice=True)
    after = [end.connection.transport.ice.local for end in (pair.sender, pair.receiver)]
    assert before[0] != after[0]
    assert before[1] != after[1]
    pair.run(12)  # longer than consent lasts
    assert pair.sender.connection.state is ConnectionState.CONNECTED
    assert pair.receiver.connection.state is ConnectionState.CONNECTED
    assert_complete(pair, alice)
