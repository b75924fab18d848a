"""What the native library makes of datagrams: slots, packets, and what is left to the caller."""

import socket
import struct
from collections.abc import Iterator, Sequence

import pytest
from aiortc.rtp import RtpPacket as AiortcPacket
from aiortc.rtp import pack_header_extensions
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.media.tracks import OpusRun
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.native import PeerStruct
from cloudslice.rtp.packet import find_extension
from cloudslice.rtp.srtp import PROFILES, SrtpContext
from helpers.listening import (
    CELT_20_MS,
    OPUS,
    VIDEO_SSRC,
    Heard,
    Listener,
    audio,
    numbers,
    payloads_of,
    video,
)
from helpers.rtp import (
    forged,
    make_batch,
    parse,
    refill,
    rtp_packet,
    take_in,
)

# Slots and sources.


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=200), st.integers(0, 60))
def test_each_sources_datagrams_follow_each_other(senders: list[int], spare: int) -> None:
    """Whatever their turns; sources come as they came first, and no slot comes twice."""
    batch = Batch(max(1, len(senders) + spare))
    for slot, sender in enumerate(senders):
        batch.put(slot.to_bytes(2), _name(sender), 0.0)
    batch.group(0.0, wall=0.0)
    found = {name: list(_slots_from(batch, first)) for name, first in batch.take()}
    expected: dict[bytes, list[int]] = {}
    for slot, sender in enumerate(senders):
        expected.setdefault(_name(sender), []).append(slot)
    assert list(found.items()) == list(expected.items())
    assert [batch.datagram(slot) for slot in range(batch.size)] == [
        slot.to_bytes(2) for slot in range(len(senders))
    ]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=20), st.sets(st.integers(0, 9)))),
    st.integers(0, 9),
)
def test_what_is_not_taken_is_followed_by_what_comes_later(
    rounds: list[tuple[list[int], set[int]]], spare: int
) -> None:
    """Of the same source; what was taken does not come again, until the batch is full of it."""
    capacity = max(1, sum(len(senders) for senders, _wanted in rounds) + spare)
    batch = Batch(capacity)
    waiting: dict[bytes, list[int]] = {}
    arrivals: list[float] = []
    slot = 0
    for number, (senders, wanted) in enumerate(rounds):
        for sender in senders:
            batch.put(slot.to_bytes(2), _name(sender), number)
            arrivals.append(number)
            waiting.setdefault(_name(sender), []).append(slot)
            slot += 1
        batch.group(number, wall=number)
        names = {_name(each) for each in wanted}
        found = {
            name: list(_slots_from(batch, first)) for name, first in batch.take(names.__contains__)
        }
        assert found == {name: waiting.pop(name) for name in names & waiting.keys()}
    assert {name: list(_slots_from(batch, first)) for name, first in batch.take()} == waiting
    assert batch.arrivals[: batch.size].tolist() == arrivals
    batch.clear()
    assert list(batch.take()) == []
    batch.put(b"", _name(1), 0.0)
    batch.group(0.0, wall=0.0)
    assert list(batch.take()) == [(_name(1), 0)]


def test_sources_that_sent_signalling_can_be_taken_alone() -> None:
    """Whatever is before or behind it; once it is taken, the source is as any other."""
    batch = Batch(20)

    def put(*datagrams: tuple[int, bytes]) -> list[bytes]:
        for sender, datagram in datagrams:
            batch.put(datagram, _name(sender), 0.0)
        batch.group(0.0, wall=0.0)
        return [name for name, _first in batch.take(lambda _name: False, signalling=True)]

    stun, dtls, media = b"\x00\x01", b"\x16\xfe", b"\x80\x6f"
    assert put((1, media), (2, media), (2, stun), (3, dtls), (3, media), (4, b"")) == [
        _name(2),
        _name(3),
    ]
    assert put((2, media), (3, b"\x3f"), (1, b"\x40")) == [_name(3)]
    assert put((1, stun)) == [_name(1)]
    assert [name for name, _first in batch.take()] == [_name(2), _name(4)]


def _name(sender: int) -> bytes:
    """A sockaddr_in6 of which only the last byte is the sender's own."""
    host = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    return struct.pack("=H2sI16s", socket.AF_INET6, b"\x13\x88", 0, host) + sender.to_bytes(4)


def _slots_from(batch: Batch, slot: int) -> Iterator[int]:
    while slot >= 0:
        yield slot
        slot = batch.next[slot]


def test_no_seed_makes_sources_fall_together() -> None:
    """Each batch has its own, and none loses a source by it."""
    for _ in range(100):
        batch = Batch(64)
        for sender in range(64):
            batch.put(b"", _name(sender), 0.0)
        batch.group(0.0, wall=0.0)
        assert [name for name, _first in batch.take()] == [_name(each) for each in range(64)]


def test_an_empty_batch_has_no_sources() -> None:
    batch = Batch(3)
    batch.group(0.0, wall=0.0)
    assert list(batch.take()) == []


def test_what_was_there_before_is_gone() -> None:
    """Longer datagrams and more of them, in runs of their own."""
    listener = Listener()
    batch = make_batch(*(audio(sequence, bytes(300)) for sequence in range(5)))
    listener.take(batch)
    refill(batch, [(audio(5, b"\xf8new"), 0.0)])
    assert listener.take(batch).payloads == [b"\xf8new"]
    refill(batch, [])
    assert listener.take(batch) == Heard()


@pytest.mark.parametrize(
    ("came_s_ago", "expected"),
    [
        pytest.param(0.25, 99.75, id="a while ago"),
        pytest.param(60, 40, id="a minute ago: the process stood still"),
        pytest.param(-0.001, 100, id="after now"),
        pytest.param(float("-inf"), 100, id="the kernel told no time"),
    ],
)
def test_an_arrival_is_when_the_kernel_noted_it(came_s_ago: float, expected: float) -> None:
    """In monotonic seconds, however late it is read."""
    assert arrivals(Batch(1), [1e9 - came_s_ago], now=100.0, wall=1e9) == pytest.approx([expected])


@pytest.mark.parametrize("step_s", [3600, 1.0, -1.0, -3600])
def test_a_step_of_the_wall_clock_is_taken_off_the_stamps_before_it(step_s: float) -> None:
    """Here it was set 2 s after a reading, and 3 s later everything is read."""
    batch = Batch(9)
    assert arrivals(batch, [1e9], now=100.0, wall=1e9) == [100.0]
    came = [100.5, 101.0, 101.5, 102.0, 102.5, 103.0, 104.0]
    stamps = [1e9 - 100 + at + (step_s if at > 102 else 0) for at in came]
    assert arrivals(batch, stamps, now=105.0, wall=1e9 + 5 + step_s) == pytest.approx(came)
    assert arrivals(batch, [1e9 + 6 + step_s], now=107.0, wall=1e9 + 7 + step_s) == [
        pytest.approx(106.0)
    ]


@pytest.mark.parametrize("rate", [1.0005, 0.9995])
def test_a_clock_that_is_being_corrected_is_not_held_to_be_set(rate: float) -> None:
    """Its stamps are as much apart as it says now, even if nothing was read for an hour."""
    batch = Batch(2)
    assert arrivals(batch, [1e9], now=100.0, wall=1e9) == [100.0]
    wall = 1e9 + 3600 * rate
    assert arrivals(batch, [wall - 0.2], now=3700.0, wall=wall) == [pytest.approx(3699.8)]


def test_nothing_came_before_a_reading_that_left_nothing() -> None:
    """By however much the wall clock is set back, or forth and back."""
    batch = Batch(2)
    batch.group(100.0, wall=1e9, emptied=99.9)
    assert arrivals(batch, [1e9 - 50, 1e9 - 40], now=101.0, wall=1e9 + 1) == [99.9, 99.9]


def test_arrivals_are_in_the_order_of_the_datagrams() -> None:
    """Several processors may note them in another one."""
    batch = Batch(3)
    found = arrivals(batch, [1e9 - 0.2, 1e9 - 0.21, 1e9 - 0.1], now=100.0, wall=1e9)
    assert found == pytest.approx([99.8, 99.8, 99.9])


def arrivals(batch: Batch, stamps: Sequence[float], *, now: float, wall: float) -> list[float]:
    """The arrivals of datagrams with these stamps, that are read at a moment of both clocks."""
    batch.clear()
    for stamp in stamps:
        batch.put(b"", b"", stamp)
    batch.group(now, wall=wall)
    return batch.arrivals[: batch.size].tolist()


# Taking packets apart.


@given(
    payload_type=st.integers(0, 127),
    marker=st.booleans(),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=50),
    csrc=st.lists(st.integers(0, 0xFFFFFFFF), max_size=15),
    padding=st.integers(0, 255),
    elements=st.dictionaries(st.integers(1, 14), st.binary(min_size=1, max_size=16), max_size=4),
)
def test_reads_what_an_independent_implementation_wrote(
    payload_type: int,
    marker: bool,
    sequence: int,
    timestamp: int,
    payload: bytes,
    csrc: list[int],
    padding: int,
    elements: dict[int, bytes],
) -> None:
    """Every field comes out, whatever stands before and after the payload."""
    written = AiortcPacket(payload_type, int(marker), sequence, timestamp, VIDEO_SSRC, payload)
    written.csrc = csrc
    written.padding_size = padding
    packet = written.serialize()
    if elements:
        profile, body = pack_header_extensions(list(elements.items()))
        header_end = 12 + 4 * len(csrc)
        extension = profile.to_bytes(2) + (len(body) // 4).to_bytes(2) + body
        packet = bytes([packet[0] | 0x10]) + packet[1:header_end] + extension + packet[header_end:]
    opened = parse(packet)
    assert opened is not None
    assert (opened.payload_type, opened.marker) == (payload_type, marker)
    assert (opened.timestamp, opened.payload) == (timestamp, payload)
    for number, data in elements.items():
        assert find_extension(opened, number) == data
    assert find_extension(opened, 15) is None
    if not (marker and 64 <= payload_type < 96):  # which is RTCP's
        (received,) = Listener().hear(packet).packets
        assert received == opened._replace(sequence=sequence)


def test_padding_alone_leaves_an_empty_payload() -> None:
    """Such packets probe the network."""
    opened = parse(b"\xa0" + rtp_packet(1, 2, bytes(9) + b"\x0a")[1:])
    assert opened is not None
    assert opened.payload == b""


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\x8f" + audio(1)[1:], id="csrcs cut off"),
        pytest.param(b"\x90" + audio(1, b"")[1:], id="extension header cut off"),
        pytest.param(b"\x90" + audio(1, b"\xbe\xde\x00\x02abcd")[1:], id="extension cut off"),
        pytest.param(b"\x90" + audio(1, b"\xbe\xde\xff\xffabcd")[1:], id="extension far too long"),
        pytest.param(b"\x9f" + audio(1, bytes(60))[1:], id="csrcs and no extension header"),
        pytest.param(b"\xa0" + audio(1, b"\x00\xff")[1:], id="more padding than packet"),
        pytest.param(b"\xa0" + audio(1, b"\x03\x03")[1:], id="more padding than payload"),
    ],
)
def test_malformed_packets_are_counted_and_missing(packet: bytes) -> None:
    """Somebody authentic has sent them, but they are no RTP."""
    listener = Listener()
    heard = listener.hear(audio(0), packet, audio(2))
    assert listener.peer.malformed == 1
    assert numbers(heard.runs) == [[0]]
    assert [each.sequence for each in heard.packets] == [2]
    assert parse(packet) is None


@given(st.binary(max_size=80), st.integers(0, 15))
def test_garbage_is_read_or_refused(tail: bytes, number: int) -> None:
    """And what is read is a piece of it."""
    for head in (b"", b"\x90", b"\xbf", rtp_packet(1, 2, b"", extension=b"\xbe\xde\x00\x05")):
        garbage = head + tail
        packet = parse(garbage)
        if packet is not None:
            assert packet.payload in garbage
            assert packet.extensions in garbage
            find_extension(packet, number)
            find_extension(packet._replace(extension_profile=0x1000), number)


# More than fits into one call.


def count_calls(listener: Listener, batch: Batch) -> tuple[Heard, list[int]]:
    """What is received, and how many packets with each call."""
    heard, counts, slot = Heard(), [], 0
    while slot >= 0:
        slot = batch.receive(slot, listener.peer)
        media = list(batch.received())
        heard.media += media
        counts.append(sum(len(payloads_of(each)) for _track, each in media))
        assert batch.is_more == (slot >= 0)
    return heard, counts


@pytest.mark.parametrize(
    ("make", "calls"),
    [
        pytest.param(lambda each: video(each, each.to_bytes(2)), [256, 256, 88], id="video"),
        pytest.param(
            lambda each: audio(each, timestamp=each * 1000), [256, 256, 88], id="runs of one"
        ),
        pytest.param(audio, [600], id="one run"),
        pytest.param(
            lambda each: audio(each, CELT_20_MS + each.to_bytes(4) + bytes(1095)),
            [59] * 10 + [10],
            id="many bytes",
        ),
    ],
)
def test_what_is_too_much_for_one_call_comes_with_the_next(make: object, calls: list[int]) -> None:
    """All of it, in order."""
    packets = [make(index) for index in range(600)]  # type: ignore[operator]
    heard, counts = count_calls(Listener(), make_batch(*packets))
    assert heard.payloads == [packet[12:] for packet in packets]
    assert counts == calls


def test_a_run_is_of_1024_packets_at_most() -> None:
    packets = [audio(index) for index in range(2500)]
    heard, counts = count_calls(Listener(), make_batch(*packets))
    assert counts == [1024, 1024, 452]
    assert [run.timestamp for run in heard.runs] == [0, 1024 * 960, 2048 * 960]
    assert heard.payloads == [packet[12:] for packet in packets]


def test_a_batch_that_ends_where_a_call_is_full_has_no_more() -> None:
    packets = [video(index) for index in range(256)]
    _heard, counts = count_calls(Listener(), make_batch(*packets))
    assert counts == [256]


def test_a_full_call_does_not_hide_what_is_no_media() -> None:
    """It is for its reader, and no more of the same."""
    packets = [*(video(index) for index in range(256)), b"\x00\x01", video(256)]
    listener = Listener()
    heard = listener.hear(*packets)
    assert heard.others == [256]
    assert len(heard.packets) == 257


# What is not the streams'.


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x80", id="one byte"),
        pytest.param(audio(1, b"")[:11], id="too short for RTP"),
        pytest.param(b"\x00\x01\x00\x00" + bytes(16), id="STUN"),
        pytest.param(b"\x16\xfe\xfd" + bytes(40), id="DTLS"),
        pytest.param(b"\x40" + audio(1)[1:], id="RTP of version 1"),
        pytest.param(b"\xc0" + audio(1)[1:], id="RTP of version 3"),
        pytest.param(b"\x80\xc8" + audio(1)[2:], id="RTCP sender report"),
        pytest.param(b"\x81\xc0" + audio(1)[2:], id="the first RTCP"),
        pytest.param(b"\x81\xdf" + audio(1)[2:], id="the last RTCP"),
        pytest.param(audio(1, ssrc=0xDEAD), id="unknown SSRC"),
    ],
)
def test_others_are_left_to_the_caller_in_their_place(datagram: bytes) -> None:
    """Nothing of them is counted, decrypted or believed."""
    listener = Listener()
    batch = make_batch(audio(1), datagram, audio(2), datagram)
    assert batch.receive(0, listener.peer) == 1
    assert not batch.is_more
    assert numbers([media for _, media in batch.received() if isinstance(media, OpusRun)]) == [[1]]
    assert batch.datagram(1) == datagram
    assert batch.receive(1, listener.peer) == 1
    assert list(batch.received()) == []
    assert batch.receive(2, listener.peer) == 3
    assert numbers([media for _, media in batch.received() if isinstance(media, OpusRun)]) == [[2]]
    assert listener.srtp.opened == 2
    assert listener.peer.not_authentic == listener.peer.malformed == 0


@pytest.mark.parametrize("second", [0xBF, 0xE0, 0x3F, 0x60])
def test_the_neighbours_of_rtcp_are_rtp(second: int) -> None:
    """RFC 5761, 4: a marker bit before payload types 64 to 95 would be RTCP's."""
    listener = Listener()
    assert listener.hear(b"\x80" + bytes([second]) + audio(1)[2:]).others == []
    assert listener.audio.foreign == 1


def test_without_streams_all_is_left_to_the_caller() -> None:
    """So it is before the handshake's end: there is nothing to decrypt with."""
    peer = PeerStruct()
    batch = make_batch(audio(1), video(1), b"\x80\xc8" + bytes(20))
    assert list(take_in(batch, peer, lambda *_: pytest.fail("nobody listens"))) == [0, 1, 2]


def test_an_opened_packet_is_taken_as_it_is_when_its_ssrc_is_known() -> None:
    """Decrypting it twice would be a replay."""
    client, server = secured_pair()
    listener = Listener(server)
    listener.peer.listen_to([])
    batch = make_batch(client.protect(audio(7)), client.protect(audio(8)))
    assert batch.receive(0, listener.peer) == 0
    opened = batch.open(0, listener.peer)
    assert opened is not None
    assert (opened.payload, opened.payload_type) == (CELT_20_MS + (7).to_bytes(4), OPUS)
    assert batch.datagram(0) == audio(7)
    listener.peer.listen_to([listener.audio])
    assert numbers(listener.take(batch).runs) == [[7, 8]]
    assert listener.peer.repeated == listener.peer.not_authentic == 0


def test_slots_of_another_reading_are_decrypted_again() -> None:
    """Although the last one's first packet was opened already."""
    client, server = secured_pair()
    listener = Listener(server)
    batch = make_batch(client.protect(audio(7)))
    assert batch.open(0, listener.peer) is not None
    refill(batch, [(client.protect(audio(8)), 0.0)])
    assert numbers(listener.take(batch).runs) == [[8]]


@pytest.mark.parametrize(
    ("packet", "counted"),
    [
        pytest.param(forged(audio(1)), "not_authentic", id="not authentic"),
        pytest.param(b"\x90" + audio(1, b"")[1:], "malformed", id="malformed"),
    ],
)
def test_what_cannot_be_opened_is_counted(packet: bytes, counted: str) -> None:
    listener = Listener()
    assert make_batch(packet).open(0, listener.peer) is None
    names = ("not_authentic", "repeated", "malformed")
    assert {name: getattr(listener.peer, name) for name in names} == {
        **dict.fromkeys(names, 0),
        counted: 1,
    }


# What is not authentic.


def secured_pair() -> tuple[SrtpContext, SrtpContext]:
    """A client's and a server's context."""
    profile = PROFILES[0]
    material = bytes(range(2 * (profile.key_length + profile.salt_length)))
    return (
        SrtpContext(profile.split(material, is_server=False)),
        SrtpContext(profile.split(material, is_server=True)),
    )


def test_encrypted_packets_come_out_in_the_clear() -> None:
    """In runs and one by one."""
    client, server = secured_pair()
    sent = [audio(0), audio(1), video(0, b"picture"), audio(3)]
    heard = Listener(server).hear(*map(client.protect, sent))
    assert heard.payloads == [*(packet[12:] for packet in sent[:2]), b"picture", sent[3][12:]]


def test_forged_packets_change_nothing_but_a_count() -> None:
    """Of audio: what of it could be believed is in the clear header."""
    client, server = secured_pair()
    listener = Listener(server)
    first, second = client.protect(audio(0)), client.protect(audio(1))
    broken = second[:-1] + bytes([second[-1] ^ 1])
    heard = listener.hear(first, broken, second)
    assert numbers(heard.runs) == [[0, 1]]
    assert (listener.peer.not_authentic, listener.peer.repeated) == (1, 0)
    assert (listener.audio.highest, listener.audio.counted) == (1, 2)


def test_repeated_packets_are_counted_apart_and_change_nothing() -> None:
    """Retransmissions of what came after all, and what is too old to tell."""
    client, server = secured_pair()
    listener = Listener(server)
    late = client.protect(audio(0))
    packets = [client.protect(audio(index)) for index in range(1, 2500)]
    heard = listener.hear(*packets[:3], packets[1], *packets[3:], packets[-1], late)
    assert heard.packets == []
    assert [number for run in numbers(heard.runs) for number in run] == list(range(1, 2500))
    assert (listener.peer.not_authentic, listener.peer.repeated) == (0, 3)
