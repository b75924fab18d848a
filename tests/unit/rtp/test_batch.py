"""What the native library makes of datagrams: every one of them is accounted for, once."""

import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from aiortc.rtp import RtpPacket as AiortcPacket
from aiortc.rtp import pack_header_extensions
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.rooms.base import OpusRun
from cloudslice.rtp import native
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.native import PeerStruct, StreamStruct
from cloudslice.rtp.packet import RtpPacket, find_extension
from cloudslice.rtp.reception import Reception
from cloudslice.rtp.srtp import PROFILES, SrtpContext
from helpers.opus_runs import ArrivedPacket, make_runs
from helpers.rtp import (
    ClearSrtp,
    RecordingSink,
    feed,
    forged,
    make_batch,
    one_byte_extension,
    parse,
    refill,
    rtp_packet,
    take_in,
    unpack_run,
)

OPUS, FOREIGN = 111, 13
VP8 = 96
AUDIO_SSRC, OTHER_AUDIO_SSRC, VIDEO_SSRC = 0xA0, 0xA1, 0xB0
CELT_20_MS = b"\xf8"
"""A TOC byte: one frame of 20 ms, 960 samples."""
RTP_LIKE = b"\x80\x6f" + bytes(6)


@dataclass
class Heard:
    """What a batch's datagrams came to."""

    media: list[tuple[int, RtpPacket | OpusRun]] = field(default_factory=list)
    others: list[int] = field(default_factory=list)
    """Slots."""

    @property
    def runs(self) -> list[OpusRun]:
        return [media for _track, media in self.media if isinstance(media, OpusRun)]

    @property
    def packets(self) -> list[RtpPacket]:
        return [media for _track, media in self.media if isinstance(media, RtpPacket)]

    @property
    def payloads(self) -> list[bytes]:
        """Opus and video, in the order in which they came out."""
        return [payload for media in self.media for payload in _payloads_of(media[1])]


def _payloads_of(media: RtpPacket | OpusRun) -> list[bytes]:
    return list(media.packets()) if isinstance(media, OpusRun) else [media.payload]


class Listener:
    """A peer with two audio streams, of tracks 0 and 1, and a video stream, of track 2."""

    def __init__(self, srtp: SrtpContext | None = None) -> None:
        self.srtp = ClearSrtp()
        self.peer = PeerStruct()
        (srtp or self.srtp.context).open_packets_of(self.peer)
        self._owner = srtp
        self.audio = audio_stream(AUDIO_SSRC, track=0)
        self.other_audio = audio_stream(OTHER_AUDIO_SSRC, track=1)
        self.video = stream(native.VIDEO, 90_000, VIDEO_SSRC, track=2)
        self.video.read_highest = -1
        self.video.thinned_until = float("-inf")
        self.peer.listen_to([self.audio, self.other_audio, self.video])

    def hear(self, *datagrams: bytes, arrivals: Sequence[float] = ()) -> Heard:
        return self.take(make_batch(*datagrams, arrivals=arrivals))

    def take(self, batch: Batch) -> Heard:
        heard = Heard()
        heard.others += take_in(
            batch, self.peer, lambda track, media: heard.media.append((track, media))
        )
        return heard


def stream(kind: int, clock_rate: int, ssrc: int, *, track: int) -> StreamStruct:
    made = Reception(kind, clock_rate)
    made.restart(ssrc)
    made.stream.track = track
    return made.stream


def audio_stream(ssrc: int, *, track: int) -> StreamStruct:
    made = stream(native.AUDIO, 48_000, ssrc, track=track)
    made.payload_types[OPUS // 8] = 1 << OPUS % 8
    made.expected = -1
    made.is_in_order = True
    return made


def audio(sequence: int, payload: bytes | None = None, **more: int) -> bytes:
    """A packet of 20 ms, as the first audio stream sends them if none is lost."""
    fields = {"timestamp": sequence * 960, "payload_type": OPUS, "ssrc": AUDIO_SSRC, **more}
    if payload is None:
        payload = CELT_20_MS + sequence.to_bytes(4)
    return rtp_packet(sequence, payload=payload, **fields)


def video(sequence: int, payload: bytes = b"\x10\x00") -> bytes:
    return rtp_packet(sequence, sequence // 5 * 3000, payload, payload_type=VP8, ssrc=VIDEO_SSRC)


def numbers(runs: Sequence[OpusRun]) -> list[list[int]]:
    """Those that `audio` has put into its payloads, by run."""
    return [[int.from_bytes(packet[1:]) for packet in run.packets()] for run in runs]


# Slots and sources.


@settings(max_examples=50)
@given(st.lists(st.integers(0, 40), max_size=200), st.integers(0, 60))
def test_each_sources_datagrams_follow_each_other(senders: list[int], spare: int) -> None:
    """Whatever their turns; sources come as they came first, and no slot comes twice."""
    batch = Batch(max(1, len(senders) + spare))
    for slot, sender in enumerate(senders):
        batch.put(slot.to_bytes(2), _name(sender), 0.0)
    batch.group(0.0, wall=0.0)
    found = {name: list(_slots_from(batch, first)) for name, first in batch.sources()}
    expected: dict[bytes, list[int]] = {}
    for slot, sender in enumerate(senders):
        expected.setdefault(_name(sender), []).append(slot)
    assert list(found.items()) == list(expected.items())
    assert [batch.datagram(slot) for slot in range(batch.size)] == [
        slot.to_bytes(2) for slot in range(len(senders))
    ]


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
        assert [name for name, _first in batch.sources()] == [_name(each) for each in range(64)]


def test_an_empty_batch_has_no_sources() -> None:
    batch = Batch(3)
    batch.group(0.0, wall=0.0)
    assert list(batch.sources()) == []


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
        pytest.param(-0.001, 100, id="after now"),
        pytest.param(0.45, 99.55, id="as long ago as is believed"),
        pytest.param(3600, 99.55, id="longer ago"),
        pytest.param(float("-inf"), 100, id="the kernel told no time"),
    ],
)
def test_arrivals_become_monotonic_and_credible(came_s_ago: float, expected: float) -> None:
    batch = Batch(1)
    batch.put(b"", b"", 1e9 - came_s_ago)
    batch.group(100.0, wall=1e9)
    assert batch.arrivals[0] == pytest.approx(expected)


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


# Audio.


def test_packets_in_order_are_one_run() -> None:
    """With all that can be known of them."""
    arrivals = [1.0, 1.021, 1.039, 1.08]
    heard = Listener().hear(*(audio(sequence) for sequence in range(50, 54)), arrivals=arrivals)
    ((track, run),) = heard.media
    assert track == 0
    assert isinstance(run, OpusRun)
    assert run.data == b"".join(CELT_20_MS + sequence.to_bytes(4) for sequence in range(50, 54))
    assert run.sizes == [5, 5, 5, 5]
    assert run.timestamp == 50 * 960
    assert (run.arrival, run.last_arrival) == (1.0, 1.08)
    assert run.earliest == pytest.approx(1.039 - 0.04)


_TOCS = st.sampled_from([0x18, 0x58, 0x60, 0x80, 0x98, 0xF8, 0xFC, 0xF9, 0xFB])
_STRETCHES = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 960, 100_000]),  # ticks that are jumped over
        _TOCS,
        st.lists(st.integers(2, 400), min_size=1, max_size=20),  # bytes of its packets
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50)
@given(_STRETCHES, st.sampled_from([0, (1 << 32) - 5000]), st.sampled_from([0, 0xFFF0]))
def test_runs_are_as_long_as_they_can_be(
    stretches: list[tuple[int, int, list[int]]], start: int, first_sequence: int
) -> None:
    """Other packets' durations, TOC bytes and gaps in time end them; wraps do not."""
    packets = []
    timestamp = start
    for step, toc, sizes in stretches:
        timestamp += step if packets else 0
        for size in sizes:
            payload = bytes([toc, 1]) + bytes([len(packets) % 256]) * (size - 2)
            packets.append(ArrivedPacket(payload, timestamp, 1.0 + len(packets) % 7 / 100))
            timestamp += _one_frame_samples(toc)
    batch = make_batch(
        *(
            audio(first_sequence + index, each.payload, timestamp=each.timestamp)
            for index, each in enumerate(packets)
        ),
        arrivals=[each.arrival for each in packets],
    )
    listener = Listener()
    heard = listener.take(batch)
    assert heard.packets == []
    assert heard.runs == make_runs(packets, limit=1024)
    assert listener.audio.expected == first_sequence + len(packets)


def _one_frame_samples(toc: int) -> int:
    return {0x18: 2880, 0x58: 2880, 0x60: 480, 0x80: 120, 0x98: 960}.get(toc & 0xF8, 960)


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        pytest.param(CELT_20_MS + bytes(1275), 1, id="the longest frame"),
        pytest.param(CELT_20_MS + bytes(1276), 3, id="longer than a frame can be"),
        pytest.param(b"\xf9\x00\x00", 3, id="two frames"),
        pytest.param(b"\xfb\x01\x00", 3, id="any number of frames"),
    ],
)
def test_only_packets_of_one_frame_share_a_run(payload: bytes, count: int) -> None:
    """Of others it is not looked up how long they are."""
    heard = Listener().hear(*(audio(sequence, payload) for sequence in range(3)))
    assert len(heard.runs) == count
    assert [run.timestamp for run in heard.runs] == [0, 960, 1920][:count]
    assert heard.payloads == [payload] * 3


def test_timestamps_may_step_back() -> None:
    """A sender's clock that jumps: the nearest extended timestamp is the next one's."""
    heard = Listener().hear(audio(0, timestamp=10_000), audio(1, timestamp=0xFFFFFF00))
    assert [run.timestamp for run in heard.runs] == [10_000, -0x100]


def test_a_run_goes_on_from_batch_to_batch() -> None:
    """Not in one piece, but without a gap: over the wraps of both numbers."""
    listener = Listener()
    start = (1 << 32) - 3 * 960
    runs = []
    for first in range(0xFFFD, 0x10009, 4):
        heard = listener.hear(
            *(
                audio(sequence, timestamp=start + (sequence - 0xFFFD) * 960)
                for sequence in range(first, first + 4)
            )
        )
        runs += heard.runs
    assert numbers(runs) == [list(range(first, first + 4)) for first in range(0xFFFD, 0x10009, 4)]
    assert [run.timestamp for run in runs] == [start + index * 4 * 960 for index in range(3)]
    assert listener.audio.highest == 0x10008


def test_from_a_missing_packet_on_they_come_one_by_one() -> None:
    """As they came, with extended sequence numbers, until somebody has put them in order."""
    listener = Listener()
    first = 0xFFFE
    heard = listener.hear(
        audio(first),
        audio(first + 4),
        audio(first + 3, ssrc=OTHER_AUDIO_SSRC),
        audio(first + 1),
        rtp_packet(
            first + 5,
            77,
            b"marked",
            marker=True,
            ssrc=AUDIO_SSRC,
            extension=one_byte_extension((1, b"\x07")),
        ),
        audio(first - 3),
        arrivals=[1, 2, 3, 4, 5, 6],
    )
    assert numbers(heard.runs) == [[first], [first + 3]]
    assert [(each.sequence, each.arrival) for each in heard.packets] == [
        (first + 4, 2),
        (first + 1, 4),
        (first + 5, 5),
        (first - 3, 6),
    ]
    marked = heard.packets[2]
    assert (marked.payload_type, marked.marker, marked.timestamp) == (OPUS, True, 77)
    assert marked.payload == b"marked"
    assert find_extension(marked, 1) == b"\x07"
    assert not listener.audio.is_in_order
    assert len(listener.hear(audio(first + 6)).packets) == 1
    listener.audio.expected = first + 7
    listener.audio.is_in_order = True
    assert numbers(listener.hear(audio(first + 7), audio(first + 8)).runs) == [
        [first + 7, first + 8]
    ]


def test_streams_have_runs_of_their_own() -> None:
    """Video between the packets of a run does not end it, another audio stream does."""
    heard = Listener().hear(
        audio(0),
        video(0),
        audio(1),
        audio(1, ssrc=OTHER_AUDIO_SSRC),
        audio(2),
        video(1),
    )
    assert [track for track, _media in heard.media] == [0, 2, 1, 0, 2]
    assert numbers(heard.runs) == [[0, 1], [1], [2]]


def test_packets_of_other_payload_types_keep_their_place_in_the_order() -> None:
    """They are counted and have nothing to say, whether packets come in order or not."""
    listener = Listener()
    heard = listener.hear(
        audio(0),
        audio(1, b"comfort noise", payload_type=FOREIGN),
        audio(2),
        audio(4, b"comfort noise", payload_type=FOREIGN),
    )
    assert numbers(heard.runs) == [[0], [2]]
    assert [(each.sequence, each.payload) for each in heard.packets] == [(4, b"")]
    assert listener.audio.foreign == 2


@pytest.mark.parametrize("payload_type", [0, 7, 8, 63, 96, 127])
def test_any_payload_type_can_be_negotiated(payload_type: int) -> None:
    listener = Listener()
    listener.audio.payload_types[OPUS // 8] = 0
    listener.audio.payload_types[payload_type // 8] |= 1 << payload_type % 8
    heard = listener.hear(*(audio(number, payload_type=number) for number in range(128)))
    assert numbers(heard.runs) == [[payload_type]]
    assert listener.audio.foreign == 127


def test_empty_packets_keep_their_place_in_the_order() -> None:
    """And a run goes on over them, if its timestamps do."""
    listener = Listener()
    heard = listener.hear(audio(0), audio(1, b"", timestamp=0), audio(2, timestamp=960))
    assert numbers(heard.runs) == [[0, 2]]
    assert listener.audio.expected == 3


def test_audio_keeps_the_time_of_its_last_packet() -> None:
    """That was authentic."""
    listener = Listener()
    listener.hear(audio(0), audio(1), forged(audio(2)), arrivals=[1, 2, 3])
    assert (listener.audio.last_arrival, listener.audio.last_authentic) == (2, 2)


def test_audio_is_counted_for_reports() -> None:
    """As `Reception` counts packets one by one: losses and jitter."""
    listener = Listener()
    alone = Reception(native.AUDIO, 48_000)
    arrivals = [index * 0.02 + index % 3 * 0.01 for index in range(60)]
    kept = [index for index in range(60) if index % 10 != 5]
    listener.hear(
        *(audio(index + 0xFFE0) for index in kept), arrivals=[arrivals[index] for index in kept]
    )
    for index in kept:
        alone.count(index + 0xFFE0 & 0xFFFF, (index + 0xFFE0) * 960, arrivals[index])
    for name in ("base", "highest", "counted", "timestamp", "transit", "jitter"):
        assert getattr(listener.audio, name) == getattr(alone.stream, name), name
    assert listener.audio.jitter > 100


# More than fits into one call.


def count_calls(listener: Listener, batch: Batch) -> tuple[Heard, list[int]]:
    """What is received, and how many packets with each call."""
    heard, counts, slot = Heard(), [], 0
    while slot >= 0:
        slot = batch.receive(slot, listener.peer)
        media = list(batch.received())
        heard.media += media
        counts.append(sum(len(_payloads_of(each)) for _track, each in media))
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


# Video.


def test_video_is_read_with_extended_sequence_numbers() -> None:
    """In the order in which it came; nobody puts it in order here."""
    heard = Listener().hear(*map(video, (65534, 1 << 16, 65535, 65537)), arrivals=[1, 2, 3, 4])
    assert [(each.sequence, each.arrival) for each in heard.packets] == [
        (65534, 1),
        (65536, 2),
        (65535, 3),
        (65537, 4),
    ]
    assert [each.timestamp for each in heard.packets] == [
        sequence // 5 * 3000 for sequence in (65534, 65536, 65535, 65537)
    ]


def test_video_before_the_sequence_number_to_read_from_is_not_decrypted() -> None:
    """But counted: by its clear header, as of another kind it would be."""
    listener = Listener()
    listener.video.read_from = 65538
    heard = listener.hear(*map(video, range(65530, 65540)), arrivals=[0.1 * i for i in range(10)])
    assert [each.sequence for each in heard.packets] == [65538, 65539]
    assert listener.video.unread == 8
    assert listener.srtp.opened == 2
    assert (listener.video.highest, listener.video.counted) == (65539, 10)
    assert listener.video.last_arrival == pytest.approx(0.9)


def test_unread_video_shows_nothing_of_the_peer_being_there() -> None:
    """Anybody can send it; what is read and authentic does."""
    listener = Listener()
    listener.video.last_authentic = -1.0
    listener.video.read_from = 3
    listener.hear(video(1), video(2), forged(video(3)), arrivals=[1, 2, 3])
    assert (listener.video.last_arrival, listener.video.last_authentic) == (3, -1)
    assert listener.peer.not_authentic == 1
    listener.hear(video(4), arrivals=[4])
    assert listener.video.last_authentic == 4


def test_video_that_arrives_while_it_is_thinned_out_is_not_decrypted() -> None:
    """And what is missing of it is not missed."""
    listener = Listener()
    listener.video.thinned_until = 2.0
    listener.video.read_highest = 0
    heard = listener.hear(video(1), video(9), video(10), arrivals=[1.0, 1.999, 2.0])
    assert [each.sequence for each in heard.packets] == [10]
    assert listener.video.unread == 2
    assert listener.video.read_highest == -1
    assert listener.srtp.opened == 1


def test_malformed_video_is_counted() -> None:
    listener = Listener()
    heard = listener.hear(b"\x90" + video(1, b"")[1:], video(2))
    assert [each.sequence for each in heard.packets] == [2]
    assert listener.peer.malformed == 1


# Anything.


_GARBAGE = st.one_of(
    st.binary(max_size=40),
    st.builds(bytes.__add__, st.just(RTP_LIKE), st.binary(max_size=40)),
    st.builds(
        lambda ssrc, tail: RTP_LIKE + ssrc.to_bytes(4) + tail,
        st.sampled_from([AUDIO_SSRC, VIDEO_SSRC]),
        st.binary(max_size=40),
    ),
)
_REAL = st.one_of(
    st.builds(audio, st.integers(0, 60)),
    st.builds(lambda sequence: audio(sequence, b""), st.integers(0, 60)),
    st.builds(lambda sequence: audio(sequence, payload_type=FOREIGN), st.integers(0, 60)),
    st.builds(lambda sequence: audio(sequence, ssrc=OTHER_AUDIO_SSRC), st.integers(65500, 65570)),
    st.builds(video, st.integers(65500, 65570)),
    st.builds(lambda sequence: forged(audio(sequence)), st.integers(0, 60)),
)
_MUTATED = st.builds(
    lambda packet, cut, flags: (bytes([packet[0] | flags]) + packet[1:])[:cut],
    _REAL,
    st.integers(0, 30),
    st.integers(0, 0x3F),
)
_DATAGRAMS = st.lists(st.one_of(_GARBAGE, _REAL, _REAL, _MUTATED), max_size=120)


@settings(max_examples=300)
@given(_DATAGRAMS, st.integers(0, 70))
def test_every_datagram_is_accounted_for_once(datagrams: list[bytes], read_from: int) -> None:
    """Whatever it is, and in whatever company."""
    listener = Listener()
    listener.video.read_from = 65500 + read_from
    heard = listener.hear(*datagrams)
    fates = Counter(_fate(each) for each in datagrams)
    assert [datagrams[slot] for slot in heard.others] == [
        each for each in datagrams if _fate(each) == "other"
    ]
    videos = [media for track, media in heard.media if track == 2]
    assert len(videos) + listener.video.unread == fates["video"] - (
        listener.peer.not_authentic
        + listener.peer.malformed
        - fates["forged audio"]
        - fates["malformed audio"]
    )
    opus = Counter(
        payload
        for track, media in heard.media
        if track < 2
        for payload in _payloads_of(media)
        if payload
    )
    assert opus == Counter(
        payload
        for each in datagrams
        if _fate(each) == "audio" and each[1] & 0x7F == OPUS and (payload := _payload(each))
    )
    foreign = listener.audio.foreign + listener.other_audio.foreign
    assert foreign == len(
        [each for each in datagrams if _fate(each) == "audio" and each[1] & 0x7F != OPUS]
    )


def _fate(datagram: bytes) -> str:
    if len(datagram) < 12 or datagram[0] >> 6 != 2 or 192 <= datagram[1] <= 223:
        return "other"
    ssrc = int.from_bytes(datagram[8:12])
    if ssrc == VIDEO_SSRC:
        return "video"
    if ssrc not in (AUDIO_SSRC, OTHER_AUDIO_SSRC):
        return "other"
    if datagram == forged(datagram):
        return "forged audio"
    return "audio" if _payload(datagram) is not None else "malformed audio"


def _payload(packet: bytes) -> bytes | None:
    """RFC 3550, 5.1; None of a packet that breaks its rules."""
    start, end = 12 + 4 * (packet[0] & 0x0F), len(packet)
    if packet[0] & 0x10:
        if start + 4 > end:
            return None
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])
    if packet[0] & 0x20:
        end -= packet[-1]
    return packet[start:end] if start <= end else None


@settings(max_examples=200)
@given(st.data())
def test_packets_read_at_once_are_delivered_as_one_by_one(data: st.DataObject) -> None:
    """By an AudioReceiver: order, losses, repeats, foreign ones, figures, whatever came with it."""
    count = data.draw(st.integers(1, 120))
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    start = data.draw(st.sampled_from([0, 0xFFC0]))
    loss, repeat, jitter = (data.draw(st.sampled_from([0, 0, 0.02, 0.3])) for _ in range(3))
    sent = []
    timestamp = data.draw(st.sampled_from([0, (1 << 32) - 9600]))
    for index in range(count):
        timestamp += 960 if dice.random() > 0.05 else 4000
        kind = OPUS if dice.random() > 0.05 else FOREIGN
        toc = CELT_20_MS if dice.random() > 0.1 else b"\xf9"
        payload = toc + index.to_bytes(2) if dice.random() > 0.05 else b""
        packet = audio(start + index, payload, timestamp=timestamp, payload_type=kind)
        at = index * 0.02
        for _ in range(2 if dice.random() < repeat else 1):
            if index == 0 or dice.random() >= loss:
                late_s = dice.choice([0, 0.03, 0.3, 0.9]) if dice.random() < jitter else 0
                sent.append((at + (late_s if index else 0), packet))
    sent.sort(key=lambda each: each[0])
    one_by_one, at_once = (_Delivery() for _ in range(2))
    for arrival, packet in sent:
        feed(one_by_one.receiver, packet, arrival)
    while sent:
        some = data.draw(st.integers(1, len(sent)))
        at_once.hear([(packet, arrival) for arrival, packet in sent[:some]])
        del sent[:some]
    for each in (one_by_one, at_once):
        each.receiver.give_up_missing(1000.0)
    assert at_once.sink.packets == one_by_one.sink.packets
    assert at_once.receiver.counts == one_by_one.receiver.counts
    assert at_once.receiver.report_block(0) == one_by_one.receiver.report_block(0)
    assert at_once.receiver.last_authentic == one_by_one.receiver.last_authentic
    assert at_once.receiver.feedback(1, 1000.0) == one_by_one.receiver.feedback(1, 1000.0)


class _Delivery:
    """An AudioReceiver and its sink."""

    def __init__(self) -> None:
        self.receiver = AudioReceiver(frozenset({OPUS}), can_nack=True)
        self.receiver.adopt(AUDIO_SSRC)
        self.sink = RecordingSink()
        self.receiver.add_sink(self.sink)
        self._srtp = ClearSrtp()
        self._peer = PeerStruct()
        self._srtp.open_packets_of(self._peer)
        self._peer.listen_to([self.receiver.stream])

    def hear(self, datagrams: list[tuple[bytes, float]]) -> None:
        batch = Batch(len(datagrams))
        refill(batch, datagrams)
        assert not list(
            take_in(batch, self._peer, lambda _track, media: self.receiver.receive(media))
        )


def test_a_runs_packets_have_the_timestamps_that_they_were_sent_with() -> None:
    packets = [(CELT_20_MS + bytes([index]), 5000 + index * 960) for index in range(10)]
    heard = Listener().hear(
        *(
            audio(index, payload, timestamp=timestamp)
            for index, (payload, timestamp) in enumerate(packets)
        )
    )
    (run,) = heard.runs
    assert list(unpack_run(run)) == packets
