"""Audio of a batch: runs of packets in order, and packets one by one where one is missing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.media.tracks import OpusRun
from cloudslice.rtp import native
from cloudslice.rtp.packet import find_extension
from cloudslice.rtp.reception import Reception
from helpers.listening import (
    AUDIO_SSRC,
    CELT_20_MS,
    FOREIGN,
    OPUS,
    OTHER_AUDIO_SSRC,
    Listener,
    audio,
    numbers,
    video,
)
from helpers.opus_runs import ArrivedPacket, make_runs
from helpers.rtp import (
    forged,
    make_batch,
    one_byte_extension,
    rtp_packet,
)


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
