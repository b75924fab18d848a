"""Only intact key frames come out, and every one of which all packets came."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.codecs.codec import Depacketizer, Format, VideoCodec
from cloudslice.codecs.h264 import H264Depacketizer
from cloudslice.codecs.vp8 import VP8, Vp8Depacketizer
from cloudslice.slicing.pictures.picture import UndecodableKeyframeError
from cloudslice.webrtc.keyframe_assembler import AssembledKeyframe, KeyframeAssembler
from cloudslice.webrtc.rtp_packet import RtpPacket
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.h264_streams import (
    PPS,
    SEI,
    SPS,
    H264Stream,
    Sent,
    decoded,
    joined,
    packetise,
    unit_type,
    x264_stream,
)
from helpers.video_codecs import CODECS, each_codec

SOME_CODEC = st.sampled_from(CODECS)
FIRST = 65500
VP8_KEY = b"\x10\x10\x02\x00\x9d\x01\x2a\x40\x01"
"""The first packet of a key frame."""


class SentPacket(NamedTuple):
    sequence: int
    timestamp: int
    marker: bool
    payload: bytes
    frame: int
    is_key: bool


def sent_packets(codec: VideoCodec, *, probes: bool = False) -> list[SentPacket]:
    """The packets of an encoder's frames; with `probes`, empty ones between them."""
    packets = []
    sequence = FIRST
    for frame in encoded_frames(codec):
        timestamp = frame.number * 3000
        for index, payload in enumerate(frame.payloads):
            marker = index == len(frame.payloads) - 1
            packets.append(
                SentPacket(sequence, timestamp, marker, payload, frame.number, frame.is_key)
            )
            sequence += 1
        if probes:
            packets.append(SentPacket(sequence, timestamp, False, b"", frame.number, frame.is_key))
            sequence += 1
    return packets


def depacketizer(codec: VideoCodec) -> Depacketizer:
    return codec.depacketizer(Format(102, codec.name, codec.clock_rate))


def rtp(
    sequence: int, timestamp: int, payload: bytes, *, marker: bool = False, arrival: float = 0
) -> RtpPacket:
    return RtpPacket(102, marker, sequence, timestamp, payload, arrival, b"", 0)


def push(
    assembler: KeyframeAssembler, packet: SentPacket, arrival: float = 0
) -> AssembledKeyframe | None:
    return assembler.push(
        rtp(
            packet.sequence,
            packet.timestamp,
            packet.payload,
            marker=packet.marker,
            arrival=arrival,
        )
    )


def trusting(codec: VideoCodec) -> KeyframeAssembler:
    """An assembler that has seen that markers are set as RFC 3550 means it."""
    assembler = KeyframeAssembler(depacketizer(codec))
    for packet in sent_packets(codec):
        if packet.frame <= 1:
            push(assembler, packet._replace(sequence=packet.sequence - 1000))
    assembler.clear()
    return assembler


@each_codec
@pytest.mark.parametrize("probes", [False, True], ids=["", "probes"])
def test_key_frames_in_order_decode_to_what_was_sent(codec: VideoCodec, probes: bool) -> None:
    """Each with the time of its first packet; from the second one on with its last packet."""
    assembler = KeyframeAssembler(depacketizer(codec))
    found = []
    firsts: dict[int, int] = {}
    packets = sent_packets(codec, probes=probes)
    for index, packet in enumerate(packets):
        firsts.setdefault(packet.timestamp, index)
        frame = push(assembler, packet, arrival=index)
        if frame is not None:
            assert frame.arrival == firsts[frame.timestamp]
            number = picture_number(decode_keyframe(codec.decoding, frame.data))
            found.append((number, packet.frame, packet.marker))
    assert [each[0] for each in found] == [0, 4, 8]
    assert found[0][1] == 1
    assert found[1:] == [(4, 4, True), (8, 8, True)]


@settings(max_examples=100, deadline=None)
@given(codec=SOME_CODEC, data=st.data())
def test_any_order_and_loss_yields_intact_key_frames_only(
    codec: VideoCodec, data: st.DataObject
) -> None:
    """A frame comes out exactly when the last one of its packets has come, as the marker tells."""
    packets = sent_packets(codec)
    lost = data.draw(st.sets(st.integers(0, len(packets) - 1), max_size=10))
    delays = data.draw(st.lists(st.integers(0, 25), min_size=len(packets), max_size=len(packets)))
    order = sorted(set(range(len(packets))) - lost, key=lambda index: index + delays[index])
    missing = {
        frame.number: len(frame.payloads)
        for frame in encoded_frames(codec)
        if frame.is_key and not any(packets[index].frame == frame.number for index in lost)
    }
    assembler = trusting(codec)
    for index in order:
        packet = packets[index]
        frame = push(assembler, packet)
        if packet.frame in missing:
            missing[packet.frame] -= 1
        if packet.frame in missing and not missing[packet.frame]:
            assert frame is not None
            assert picture_number(decode_keyframe(codec.decoding, frame.data)) == packet.frame
        else:
            assert frame is None


@each_codec
def test_a_key_frame_short_of_any_one_packet_never_comes_out(codec: VideoCodec) -> None:
    """The first ones and the last included."""
    packets = sent_packets(codec)
    for lost in packets:
        if lost.is_key:
            assembler = KeyframeAssembler(depacketizer(codec))
            frames = [push(assembler, each) for each in packets if each is not lost]
            assert sum(frame is not None for frame in frames) == 2


def test_a_key_frame_that_a_server_cuts_short_never_comes_out() -> None:
    """A server that goes over to another layer begins its key frame where the one before it is not
    finished: no number is missing, but the marker is."""
    assembler = trusting(VP8)
    assert assembler.push(rtp(1, 0, VP8_KEY)) is None
    assert assembler.push(rtp(2, 0, b"\x00more")) is None
    assert assembler.push(rtp(3, 3000, VP8_KEY)) is None
    found = assembler.push(rtp(4, 3000, b"\x00large", marker=True))
    assert found is not None
    assert found.timestamp == 3000
    assert assembler.push(rtp(5, 6000, b"\x00\x01delta", marker=True)) is None


@each_codec
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
    assert picture_number(decode_keyframe(codec.decoding, frame.data)) == 0


def test_of_two_key_frames_at_once_the_newer_one_comes_out() -> None:
    """One small frame ends the one before."""
    assembler = KeyframeAssembler(Vp8Depacketizer())
    assert assembler.push(rtp(1, 10, VP8_KEY, marker=True)) is None
    assert assembler.push(rtp(3, 30, b"\x10\x01")) is None
    found = assembler.push(rtp(2, 20, VP8_KEY + b"second"))
    assert found is not None
    assert found.timestamp == 20


# --- when an access unit ends ---

Marks = Callable[[Sent], bool]
MARKS: dict[str, Marks] = {
    "as meant": lambda sent: sent.ends_frame,
    "on each packet": lambda _sent: True,
    "on each unit": lambda sent: sent.ends_unit,
    "on each slice": lambda sent: sent.ends_unit and sent.is_slice,
    "never": lambda _sent: False,
}
STREAMS = {
    "one slice": "keyint=4:bframes=0",
    "four slices": "keyint=4:bframes=0:slices=4:sliced-threads=1",
    "slices of a packet": "keyint=4:bframes=0:slice-max-size=380",
    "slices of some packets": "keyint=4:bframes=0:slice-max-size=1100",
    "delimiters": "keyint=4:bframes=0:aud=1",
    "open GOP": "keyint=5:bframes=2:open-gop=1",
    "I without recovery point": "keyint=90:min-keyint=30:scenecut=90:bframes=0",
}


def packets_of(
    stream: H264Stream, marks: Marks = MARKS["as meant"], *, aggregates: bool = False
) -> list[tuple[Sent, RtpPacket]]:
    return [
        (sent, rtp(FIRST + index, sent.timestamp, sent.payload, marker=marks(sent)))
        for index, sent in enumerate(packetise(stream, aggregates=aggregates))
    ]


def pictures(stream: H264Stream, packets: Iterable[RtpPacket]) -> list[int]:
    """The frames that came out; each is its whole picture."""
    assembler = KeyframeAssembler(H264Depacketizer())
    found = []
    for packet in packets:
        keyframe = assembler.push(packet)
        if keyframe is not None:
            number = keyframe.timestamp // 3000
            assert decoded(keyframe.data) == stream.pictures[number]
            found.append(number)
    return found


def key_numbers(stream: H264Stream) -> list[int]:
    """Frames that need no other one, as FFmpeg says when it decodes each alone; but for the last
    frame, whose end nothing tells."""
    return [
        frame.number
        for frame in stream.frames[:-1]
        if all(_is_intra(each) for each in frame.units if _is_slice_start(each))
    ]


def _is_slice_start(unit: bytes) -> bool:
    return unit_type(unit) in (1, 5) and bool(unit[1] & 0x80)


def _is_intra(unit: bytes) -> bool:
    """first_mb_in_slice is 0, "1"; then slice_type 7 is "0001000"."""
    return unit[1] == 0b1000_1000


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("aggregates", [False, True], ids=["", "aggregates"])
@pytest.mark.parametrize("parameters", STREAMS)
def test_pictures_are_right_whatever_the_marker_bits_are(
    parameters: str, aggregates: bool, marks: str
) -> None:
    stream = x264_stream(STREAMS[parameters])
    packets = packets_of(stream, MARKS[marks], aggregates=aggregates)
    expected = key_numbers(stream)
    assert len(expected) >= 2
    assert pictures(stream, (packet for _sent, packet in packets)) == expected


@pytest.mark.parametrize("parameters", STREAMS)
def test_an_honest_marker_ends_a_key_frame_at_once(parameters: str) -> None:
    """From the second key frame on: the first one shows that the marker is honest."""
    stream = x264_stream(STREAMS[parameters])
    assembler = KeyframeAssembler(H264Depacketizer())
    ends = []
    for sent, packet in packets_of(stream):
        if assembler.push(packet) is not None:
            ends.append(sent.ends_frame)
    assert ends[1:] == [True] * len(ends[1:])
    assert len(ends) >= 2


def test_a_marker_that_was_honest_once_is_not_believed_for_ever() -> None:
    """One picture is short then, which a decoder sees; no second one."""
    stream = joined(*(x264_stream(STREAMS["four slices"]) for _ in range(2)))
    assembler = KeyframeAssembler(H264Depacketizer())
    found: list[AssembledKeyframe] = []
    for sent, packet in packets_of(stream):
        marks = MARKS["as meant" if sent.frame < 1000 else "on each slice"]
        if (keyframe := assembler.push(packet._replace(marker=marks(sent)))) is not None:
            found.append(keyframe)
    assert [each.timestamp // 3000 for each in found] == [0, 4, 8, 1000, 1004, 1008]
    with pytest.raises(UndecodableKeyframeError):
        decoded(found[3].data)
    for each in (*found[:3], *found[4:]):
        assert decoded(each.data) == stream.pictures[each.timestamp // 3000]


@pytest.mark.parametrize("marks", MARKS)
def test_frames_of_one_timestamp_end_where_another_picture_begins(marks: str) -> None:
    """first_mb_in_slice of 0 behind slices, or what stands in front of one."""
    stream = x264_stream(STREAMS["four slices"])
    assembler = KeyframeAssembler(H264Depacketizer())
    found = []
    for sent, packet in packets_of(stream, MARKS[marks]):
        keyframe = assembler.push(packet._replace(timestamp=5))
        if keyframe is not None:
            found.append(decoded(keyframe.data))
            assert sent.frame in (0, 1, 4, 5, 8, 9)
    assert found == [stream.pictures[number] for number in (0, 4, 8)]


@settings(max_examples=150, deadline=None)
@given(
    parameters=st.sampled_from(sorted(STREAMS)),
    marks=st.sampled_from(sorted(MARKS)),
    aggregates=st.booleans(),
    seed=st.integers(0, 1 << 20),
    loss=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    reordering=st.sampled_from([0, 3, 40]),
)
def test_no_network_makes_a_wrong_picture(
    parameters: str, marks: str, aggregates: bool, seed: int, loss: float, reordering: int
) -> None:
    """Whatever is lost, repeated, reordered and padded: what comes out is its whole picture."""
    stream = x264_stream(STREAMS[parameters])
    dice = random.Random(seed)
    sent = [packet for _sent, packet in packets_of(stream, MARKS[marks], aggregates=aggregates)]
    padded: list[RtpPacket] = []
    for packet in sent:
        padded.append(packet._replace(sequence=FIRST + len(padded)))
        while dice.random() < 0.1:
            padded.append(padded[-1]._replace(sequence=FIRST + len(padded), payload=b""))
    came = [
        (index + dice.uniform(0, reordering), packet)
        for index, packet in enumerate(padded)
        for _copy in range(1 + (dice.random() < 0.05))
        if dice.random() >= loss
    ]
    came.sort(key=lambda each: each[0])
    # Markers that lie after some that did not are another test's.
    assert set(pictures(stream, (packet for _at, packet in came))) <= set(key_numbers(stream))


# --- parameter sets ---


def _moved_to_front(units: Sequence[bytes]) -> list[bytes]:
    """PPS before SPS."""
    return sorted(units, key=lambda each: {PPS: 0, SPS: 1}.get(unit_type(each), 2))


def _without_sei(units: Sequence[bytes]) -> list[bytes]:
    return [each for each in units if unit_type(each) != SEI]


def _with_ids(*numbers: int) -> H264Stream:
    return joined(*(x264_stream(f"keyint=6:bframes=0:sps-id={number}") for number in numbers))


PARAMETER_SETS = {
    "PPS before SPS": x264_stream("keyint=4:bframes=0").with_units(_moved_to_front),
    "ids that change": _with_ids(0, 1, 2),
    "ids that take turns": _with_ids(0, 3, 0),
    "no SEI": x264_stream("keyint=5:bframes=2:open-gop=1").with_units(_without_sei),
}


@pytest.mark.parametrize("name", PARAMETER_SETS)
@pytest.mark.parametrize("aggregates", [False, True], ids=["", "aggregates"])
def test_each_key_frame_gets_the_parameter_sets_that_it_means(name: str, aggregates: bool) -> None:
    stream = PARAMETER_SETS[name]
    packets = packets_of(stream, aggregates=aggregates)
    assert pictures(stream, (packet for _sent, packet in packets)) == key_numbers(stream)


def test_parameter_sets_of_all_ids_may_stand_in_front_of_each_key_frame() -> None:
    every = [
        unit
        for number in (0, 1, 2)
        for unit in x264_stream(f"keyint=6:bframes=0:sps-id={number}").frames[0].units
        if unit_type(unit) in (SPS, PPS)
    ]

    def change(units: Sequence[bytes]) -> list[bytes]:
        rest = [each for each in units if unit_type(each) not in (SPS, PPS)]
        return [*reversed(every), *rest] if unit_type(rest[-1]) == 5 else rest

    stream = _with_ids(1, 0, 2).with_units(change)
    packets = packets_of(stream)
    assert pictures(stream, (packet for _sent, packet in packets)) == key_numbers(stream)


def _only_first_sets(stream: H264Stream) -> H264Stream:
    first, *others = stream.frames
    bare = [
        replace(each, units=tuple(x for x in each.units if unit_type(x) not in (SPS, PPS)))
        for each in others
    ]
    return H264Stream((first, *bare), stream.pictures)


def test_parameter_sets_that_came_once_are_put_in_front() -> None:
    """The packet before a bare IDR is another frame's, so that nothing was before it."""
    stream = _only_first_sets(x264_stream("keyint=4:bframes=0"))
    assert pictures(stream, (packet for _sent, packet in packets_of(stream))) == [0, 4, 8]


def test_a_bare_idr_behind_a_lost_packet_is_not_taken() -> None:
    """New parameter sets may have been in it."""
    stream = _only_first_sets(x264_stream("keyint=4:bframes=0"))
    packets = packets_of(stream)
    lost = next(packet.sequence for sent, packet in packets if sent.frame == 4) - 1
    kept = [packet for _sent, packet in packets if packet.sequence != lost]
    assert pictures(stream, kept) == [0, 8]


# --- intra refresh ---


def test_intra_refresh_is_told_from_key_frames() -> None:
    """No picture is made of a frame that is right in parts only."""
    stream = x264_stream("keyint=8:intra-refresh=1:bframes=0")
    assembler = KeyframeAssembler(H264Depacketizer())
    found = []
    for _sent, packet in packets_of(stream):
        if (keyframe := assembler.push(packet)) is not None:
            found.append(keyframe.timestamp // 3000)
    assert found == [0]
    assert assembler.has_gradual_refresh
    assert assembler.begun == 1


def test_key_frames_are_no_intra_refresh() -> None:
    for parameters in STREAMS.values():
        assembler = KeyframeAssembler(H264Depacketizer())
        for _sent, packet in packets_of(x264_stream(parameters)):
            assembler.push(packet)
        assert not assembler.has_gradual_refresh


# --- bounds ---


def test_memory_is_bounded_whatever_comes() -> None:
    """One endless frame, and endless frames."""
    assembler = KeyframeAssembler(Vp8Depacketizer())
    for index in range(20000):
        assembler.push(rtp(index, 7, b"\x00\x00\x00"))
        assert len(assembler._pieces) <= assembler._PACKETS
    for index in range(20000, 21000):
        assembler.push(rtp(index, index, b"\x00\x00\x00"))
    assert len(assembler._frames) <= assembler._FRAMES
    assert len(assembler._pieces) == sum(
        len(frame.sequences) for frame in assembler._frames.values()
    )


def test_endless_key_frames_of_one_timestamp_are_bounded() -> None:
    assembler = KeyframeAssembler(Vp8Depacketizer())
    for index in range(0, 20000, 2):  # of each the next packet is missing
        assembler.push(rtp(index, 7, VP8_KEY))
    for frame in assembler._frames.values():
        assert len(frame.keyframes) <= assembler._KEYFRAMES


def test_padding_without_end_is_not_looked_through() -> None:
    """It costs no more than so many steps."""
    assembler = KeyframeAssembler(Vp8Depacketizer())
    assembler.push(rtp(0, 7, VP8_KEY))
    for index in range(1, 200):
        assembler.push(rtp(index, 7, b""))
    assert assembler.push(rtp(200, 8, b"\x10\x01")) is None


def test_cleared_packets_complete_nothing() -> None:
    """Half a frame before, half of it after."""
    packets = sent_packets(VP8)
    assembler = KeyframeAssembler(Vp8Depacketizer())
    for packet in packets[:5]:
        push(assembler, packet)
    assembler.clear()
    assert all(push(assembler, packet) is None for packet in packets[5:12])


@settings(max_examples=300)
@given(
    codec=SOME_CODEC,
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
    for sequence, timestamp, marker, payload in packets:
        assembler.push(rtp(sequence, timestamp, payload, marker=marker))
