"""Only intact key frames come out, and every one of which all packets came."""

from typing import NamedTuple

import pytest
from cloudslice.rtp.keyframes import AssembledKeyframe, Depacketizer, KeyframeAssembler
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.codecs.h264 import H264Depacketizer
from cloudslice.codecs.vp8 import Vp8Depacketizer
from cloudslice.media.tracks import VideoCodec
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number

CODECS = st.sampled_from(list(VideoCodec))


class SentPacket(NamedTuple):
    sequence: int
    timestamp: int
    is_last: bool
    payload: bytes
    frame: int
    is_key: bool


def sent_packets(
    codec: VideoCodec, *, probes: bool = False, start: int = 65500
) -> list[SentPacket]:
    """The packets of an encoder's frames; with `probes`, empty ones between them."""
    packets = []
    sequence = start
    for frame in encoded_frames(codec):
        timestamp = frame.number * 3000
        for index, payload in enumerate(frame.payloads):
            is_last = index == len(frame.payloads) - 1
            packets.append(
                SentPacket(sequence, timestamp, is_last, payload, frame.number, frame.is_key)
            )
            sequence += 1
        if probes:
            packets.append(SentPacket(sequence, timestamp, False, b"", frame.number, frame.is_key))
            sequence += 1
    return packets


def depacketizer(codec: VideoCodec) -> Depacketizer:
    return H264Depacketizer() if codec is VideoCodec.H264 else Vp8Depacketizer()


def push(
    assembler: KeyframeAssembler, packet: SentPacket, arrival: float = 0
) -> AssembledKeyframe | None:
    return assembler.push(
        packet.sequence, packet.timestamp, packet.is_last, packet.payload, arrival
    )


@pytest.mark.parametrize("codec", VideoCodec)
@pytest.mark.parametrize("probes", [False, True], ids=["", "probes"])
def test_key_frames_in_order_decode_to_what_was_sent(codec: VideoCodec, probes: bool) -> None:
    """Each with its last packet, and with the time of its first."""
    assembler = KeyframeAssembler(depacketizer(codec))
    found = []
    firsts = {}
    for index, packet in enumerate(sent_packets(codec, probes=probes)):
        firsts.setdefault(packet.frame, index)
        frame = push(assembler, packet, arrival=index)
        if frame is not None and packet.payload:
            assert packet.is_last
            assert frame.arrival == firsts[packet.frame]
            found.append(picture_number(decode_keyframe(codec, frame.data)))
    assert found == [0, 4, 8]


@settings(max_examples=100, deadline=None)
@given(codec=CODECS, data=st.data())
def test_any_order_and_loss_yields_intact_key_frames_only(
    codec: VideoCodec, data: st.DataObject
) -> None:
    """A frame comes out exactly when the last one of its packets has come."""
    packets = sent_packets(codec)
    lost = data.draw(st.sets(st.integers(0, len(packets) - 1), max_size=10))
    delays = data.draw(st.lists(st.integers(0, 25), min_size=len(packets), max_size=len(packets)))
    order = sorted(set(range(len(packets))) - lost, key=lambda index: index + delays[index])
    intact = {
        frame.number: len(frame.payloads)
        for frame in encoded_frames(codec)
        if frame.is_key and not any(packets[index].frame == frame.number for index in lost)
    }
    complete = {
        number: b"".join(each.payload for each in packets if each.frame == number)
        for number in intact
    }
    assembler = KeyframeAssembler(depacketizer(codec))
    missing = dict(intact)
    for index in order:
        packet = packets[index]
        frame = push(assembler, packet)
        if packet.frame in missing:
            missing[packet.frame] -= 1
        if packet.frame in missing and not missing[packet.frame]:
            assert frame is not None
            assert len(frame.data) > 0.9 * len(complete[packet.frame])
        else:
            assert frame is None


@pytest.mark.parametrize("codec", VideoCodec)
def test_a_key_frame_short_of_any_one_packet_never_comes_out(codec: VideoCodec) -> None:
    """The first ones and the last included."""
    packets = sent_packets(codec)
    for lost in packets:
        if lost.is_key:
            assembler = KeyframeAssembler(depacketizer(codec))
            frames = [push(assembler, each) for each in packets if each is not lost]
            assert sum(frame is not None for frame in frames) == 2


@pytest.mark.parametrize("codec", VideoCodec)
def test_a_packet_that_comes_a_second_later_completes_its_frame(codec: VideoCodec) -> None:
    """Retransmission may take a while."""
    packets = sent_packets(codec)
    late = packets[1]
    assembler = KeyframeAssembler(depacketizer(codec))
    for each in packets:
        if each is not late:
            push(assembler, each)
    for index in range(30):
        push(assembler, packets[-1]._replace(sequence=9 << 16 | index, timestamp=90000 + index))
    frame = push(assembler, late)
    assert frame is not None
    assert picture_number(decode_keyframe(codec, frame.data)) == 0


def without_parameter_sets(packets: list[SentPacket]) -> list[SentPacket]:
    """Key frames of senders that rely on sprop-parameter-sets: the aggregates' last unit alone."""
    return [
        each._replace(payload=_last_unit(each.payload)) if each.payload[0] & 0x1F == 24 else each
        for each in packets
    ]


def _last_unit(aggregate: bytes) -> bytes:
    position = 1
    while position < len(aggregate):
        length = int.from_bytes(aggregate[position : position + 2])
        unit = aggregate[position + 2 : position + 2 + length]
        position += 2 + length
    assert unit[0] & 0x1F == 5
    return unit


def test_a_bare_idr_is_taken_when_nothing_can_have_been_before_it() -> None:
    """The packet before it is another frame's; its parameter sets are those known."""
    assembler = KeyframeAssembler(learned_depacketizer())
    packets = without_parameter_sets(sent_packets(VideoCodec.H264))
    found = [frame for each in packets if (frame := push(assembler, each)) is not None]
    # Not the first: what was before it is unknown.
    assert [picture_number(decode_keyframe(VideoCodec.H264, each.data)) for each in found] == [4, 8]


def test_a_bare_idr_behind_a_lost_packet_is_not_taken() -> None:
    """New parameter sets may have been in it."""
    packets = without_parameter_sets(sent_packets(VideoCodec.H264))
    starts = [each.sequence for each in packets if each.is_key and each.payload[0] & 0x1F == 5]
    assert len(starts) == 3
    assembler = KeyframeAssembler(learned_depacketizer())
    kept = [each for each in packets if each.sequence + 1 not in starts]
    assert not [frame for each in kept if (frame := push(assembler, each)) is not None]


def learned_depacketizer() -> H264Depacketizer:
    learned = H264Depacketizer()
    learned.learn(sent_packets(VideoCodec.H264)[0].payload)
    assert learned.is_ready
    return learned


def test_memory_is_bounded_whatever_comes() -> None:
    """One endless frame, and endless frames."""
    assembler = KeyframeAssembler(Vp8Depacketizer())
    for index in range(20000):
        assembler.push(index, 7, False, b"\x10\x00\x00", 0)
        assert len(assembler._timestamps) <= assembler._PACKETS
    for index in range(20000, 21000):
        assembler.push(index, index, False, b"\x10\x00\x00", 0)
    assert len(assembler._frames) <= assembler._FRAMES
    assert len(assembler._timestamps) == sum(
        len(frame.payloads) for frame in assembler._frames.values()
    )


def test_cleared_packets_complete_nothing() -> None:
    """Half a frame before, half of it after."""
    packets = sent_packets(VideoCodec.VP8)
    assembler = KeyframeAssembler(Vp8Depacketizer())
    for packet in packets[:5]:
        push(assembler, packet)
    assembler.clear()
    assert all(push(assembler, packet) is None for packet in packets[5:12])


@settings(max_examples=200)
@given(
    codec=CODECS,
    packets=st.lists(
        st.tuples(st.integers(0, 30), st.integers(0, 3), st.booleans(), st.binary(max_size=12)),
        max_size=40,
    ),
)
def test_garbage_never_raises(
    codec: VideoCodec, packets: list[tuple[int, int, bool, bytes]]
) -> None:
    """Whatever the payloads, numbers and marker bits are."""
    assembler = KeyframeAssembler(depacketizer(codec))
    for sequence, timestamp, is_last, payload in packets:
        assembler.push(sequence, timestamp, is_last, payload, 0)
