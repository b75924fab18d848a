"""SRTP's roll-over counter is right whenever somebody reads a stream (RFC 3711, 3.3.1)."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from cloudslice.ids import TrackKind
from cloudslice.webrtc.srtp import PROFILES, SrtpContext, SrtpProfile
from helpers.meeting import meeting
from helpers.native_peer import (
    AUDIO_SSRC,
    H264,
    VIDEO_SSRC,
    OpusSender,
    Receiving,
    numbers,
    packets,
    rtp,
)
from helpers.peer import SSRCS


def secured_pair(profile: SrtpProfile) -> tuple[SrtpContext, SrtpContext]:
    """A client's and a server's context."""
    material = bytes(range(2 * (profile.key_length + profile.salt_length)))
    return (
        SrtpContext(profile.split(material, is_server=False)),
        SrtpContext(profile.split(material, is_server=True)),
    )


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    with closing(Receiving()) as opened:
        yield opened


def audio(sequence: int) -> bytes:
    return rtp(AUDIO_SSRC, sequence, 960 * sequence, b"\xf8" + sequence.to_bytes(8))


def video(sequence: int) -> bytes:
    return rtp(VIDEO_SSRC, sequence, 300 * sequence, b"\x41", payload_type=H264)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.dtls_name.decode())
@pytest.mark.parametrize("lost", [30_000, 40_000, 65_000, 65_536, 66_000])
def test_media_is_read_after_an_outage(
    receiving: Receiving, profile: SrtpProfile, lost: int
) -> None:
    """Where libsrtp's guess is wrong, its neighbours are tried, one packet in 50 ms."""
    client, server = secured_pair(profile)
    receiving.peer.set_srtp(server)
    streams = receiving.audio(), receiving.video()
    streams[1].read(is_read=True)
    after = 20_010 + lost
    for sequence in range(20_000, 20_010):
        receiving.put(client.protect(audio(sequence)), client.protect(video(sequence)))
    receiving.process(now=1.0)
    receiving.flush()
    for sequence in range(20_010, after, 10_000):
        client.protect(audio(sequence)), client.protect(video(sequence))  # all lost
    receiving.events.clear()
    for index in range(40):
        receiving.put(client.protect(audio(after + index)), client.protect(video(after + index)))
        receiving.process(now=60 + index * 0.02)
    receiving.flush()
    assert numbers(receiving.events)[-30:] == list(range(after + 10, after + 40))
    found = [each.packet.sequence for each in packets(receiving.events)]
    assert found[-30:] == list(range(after + 10, after + 40))
    assert [each.state.highest for each in streams] == [after + 39] * 2


@pytest.mark.parametrize("roll_over", [1, 2])
@pytest.mark.parametrize("interval_s", [0.001, 0.02])
def test_forged_packets_cost_no_packet_around_a_roll_over(
    receiving: Receiving, interval_s: float, roll_over: int
) -> None:
    """Whatever was tried for them, libsrtp's own guess holds for the next one."""
    receiving.audio()
    sender = OpusSender(receiving, sequence=65_500, timestamp=0)
    for _ in range((roll_over - 1) * 64):
        receiving.put(*sender.packets(1024))
        receiving.process()
    receiving.flush()
    receiving.events.clear()
    first = sender.sequence
    for index in range(200):
        receiving.put(sender.packet())
        receiving.put(rtp(AUDIO_SSRC, index * 997 & 0xFFFF, 0, bytes(60)))
        receiving.process(now=10 + index * interval_s)
    receiving.flush()
    assert numbers(receiving.events) == list(range(first, first + 200))


def test_a_duplicate_is_no_reason_to_try_other_values(receiving: Receiving) -> None:
    """It is refused as such."""
    receiving.audio()
    sender = OpusSender(receiving)
    packet = sender.packet()
    receiving.put(packet, *[packet] * 100)
    receiving.process(now=1.0)
    state = receiving.peer.state
    assert (state.repeated, state.not_authentic) == (100, 0)
    receiving.put(sender.packet())
    receiving.process()
    receiving.flush()
    assert numbers(receiving.events) == [0, 1]


@pytest.mark.parametrize("kind", [TrackKind.AUDIO, TrackKind.VIDEO])
@pytest.mark.parametrize("lost", [6, 100, 30_000])
def test_a_stream_that_loses_all_before_its_first_roll_over_is_read(
    kind: TrackKind, lost: int
) -> None:
    """Its sender has counted a roll-over by then."""
    with meeting() as made:
        made.connect()
        sent = [made.peer.rtp(kind, 65_530 + index, 0, b"%d" % index) for index in range(lost + 3)]
        made.deliver(*sent[lost:])
        receiver = made.audio if kind is TrackKind.AUDIO else made.video
        assert receiver.ssrc == SSRCS[kind]
        block = receiver.report_block(0)
        assert block is not None
        assert block.report.highest == 65_530 + lost + 2
        if kind is TrackKind.AUDIO:
            assert made.heard() == [b"%d" % index for index in range(lost, lost + 3)]
        assert made.connection.counts["not_authentic"] == 0
