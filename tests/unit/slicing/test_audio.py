"""What the slicer writes for what came, read back packet by packet."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.codecs.opus import packet_samples
from cloudslice.events import AudioGap, GapFilling, GapReason
from cloudslice.media.tracks import Levels, OpusRun
from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.slicing.audio.ogg_repair import repair_ogg
from cloudslice.slicing.audio.preroll import PRE_ROLL
from cloudslice.slicing.audio.slicer import AudioSlicer
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.tick import PERIOD_S
from helpers.ogg_pages import read_opus_file, read_pages
from helpers.opus_runs import ArrivedPacket, make_runs
from helpers.slice_store import UTC_AT_ZERO_MS, ManualClock, MemoryStore, StoredSlice

ORIGIN = SliceOrigin("task", "anchor", SliceKind.AUDIO, "ogg")
START = 500.0
"""Monotonic second at which the anchor's audio began."""


def numbered_packet(number: int, toc: int = 0xF8) -> bytes:
    """A packet that can be told from all others: CELT, 20 ms unless `toc` says otherwise."""
    return bytes([toc]) + number.to_bytes(4)


class Anchor:
    """Feeds a slicer in real time; the clock goes with it."""

    def __init__(self, slice_s: int = 1) -> None:
        self.store = MemoryStore()
        self.clock = ManualClock()
        self.clock.now = START
        self.counters = SlicingCounters()
        self.slicer = AudioSlicer(
            ORIGIN, self.store, self.clock, slice_s, self.counters, self._note_gap
        )
        self.gaps: list[AudioGap] = []
        self.timestamp = 7_000
        self.sent: list[bytes] = []
        self.lost = 0
        """Packets that are told as lost with the next one."""
        self.levels: Levels | None = None
        """Of each packet."""

    def send(self, count: int = 1, toc: int = 0xF8) -> None:
        for _ in range(count):
            packet = numbered_packet(len(self.sent), toc)
            samples = packet_samples(packet)
            self.clock.now += samples / 48_000
            run = OpusRun.of_one(packet, self.timestamp, self.clock.now)
            self.slicer.on_opus(run._replace(lost=self.lost, levels=self.levels))
            self.lost = 0
            self.slicer.tick(self.clock.now)
            self.timestamp += samples
            self.sent.append(packet)

    def _note_gap(self, gap: AudioGap) -> None:
        self.gaps.append(gap)
        self.counters.note(gap)

    def pause(self, seconds: float, *, clock_runs: bool = True) -> None:
        """Nothing comes; the slicer is ticked as its owner would."""
        for _ in range(round(seconds * 10)):
            self.clock.now += 0.1
            self.slicer.tick(self.clock.now)
        if clock_runs:
            self.timestamp += round(seconds * 48_000)


@dataclass
class Placed:
    start: int
    end: int
    packet: bytes
    audible_from: int
    audible_to: int


def placed_packets(stored: StoredSlice) -> Iterator[Placed]:
    """Every packet of a slice with its place in media time, and the part of it that is heard."""
    file = read_opus_file(bytes(stored.data))
    first = int(stored.details["first-sample"])
    assert file.samples == int(stored.details["samples"])
    position = first - file.pre_skip
    for packet in file.packets:
        end = position + packet_samples(packet)
        yield Placed(position, end, packet, max(position, first), min(end, first + file.samples))
        position = end


def heard(slices: list[StoredSlice]) -> list[bytes]:
    """The packets that are heard, in order; one that is cut in two counts once."""
    packets: dict[tuple[int, bytes], None] = {}
    for stored in slices:
        for placed in placed_packets(stored):
            if placed.audible_from < placed.audible_to:
                packets[placed.start, placed.packet] = None
    return [packet for _, packet in packets]


def contents(stored: StoredSlice) -> object:
    """All that there is to a slice but how its packets are laid out in pages."""
    file = read_opus_file(bytes(stored.data))
    date, _note = file.comments  # whose duration may be another by a millisecond
    stream = file.channels, file.pre_skip, date, file.pages[0].serial, file.samples
    return (
        stored.origin,
        stored.start_utc_ms,
        stored.details,
        stream,
        file.packets,
    )


def is_silence(packet: bytes) -> bool:
    return packet[1:] == b"\xff\xfe"


def is_made_up(packet: bytes) -> bool:
    return len(packet) == 1 or is_silence(packet)


def test_slices_tile_the_stream() -> None:
    anchor = Anchor()
    anchor.send(125)
    anchor.slicer.close()
    assert [stored.duration_ms for stored in anchor.store.slices] == [1000, 1000, 500]
    assert heard(anchor.store.slices) == anchor.sent
    assert [stored.start_utc_ms for stored in anchor.store.slices] == [
        UTC_AT_ZERO_MS + 500_000 + 1000 * index for index in range(3)
    ]
    assert [stored.details["first-sample"] for stored in anchor.store.slices] == [
        0, 48_000, 96_000,
    ]  # fmt: skip
    assert {stored.origin for stored in anchor.store.slices} == {ORIGIN}
    assert anchor.counters.audio_slices == 3


def test_320_ms_from_before_the_cut_are_hidden_in_front() -> None:
    anchor = Anchor()
    anchor.send(100)
    second = anchor.store.slices[1]
    hidden = [placed for placed in placed_packets(second) if placed.end <= 48_000]
    assert [placed.packet for placed in hidden] == anchor.sent[34:50]
    assert read_opus_file(bytes(second.data)).pre_skip == PRE_ROLL


def test_the_first_slice_begins_after_hidden_silence() -> None:
    """As every other one: a decoder starts in it as it would in the middle of the stream."""
    anchor = Anchor()
    anchor.send(50)
    [stored] = anchor.store.slices
    placed = list(placed_packets(stored))
    assert placed[0].start == -PRE_ROLL
    assert all(is_silence(each.packet) for each in placed if each.end <= 0)


def test_a_packet_that_straddles_a_cut_is_in_both_files() -> None:
    anchor = Anchor()
    anchor.send(40, toc=0x18)  # SILK, 60 ms: 16.67 of them are a second
    anchor.slicer.close()
    first, second, third = anchor.store.slices
    straddling = anchor.sent[16]
    assert list(placed_packets(first))[-1].packet == straddling
    assert straddling in [placed.packet for placed in placed_packets(second)]
    assert heard(anchor.store.slices) == anchor.sent
    assert [stored.duration_ms for stored in (first, second, third)] == [1000, 1000, 400]


def test_a_long_gap_becomes_silence_of_its_length() -> None:
    anchor = Anchor()
    anchor.send(20)
    anchor.pause(0.4)
    anchor.send(10)
    [stored] = anchor.store.slices
    assert stored.duration_ms == 1000
    assert [is_silence(packet) for packet in heard([stored])] == [
        *[False] * 20, *[True] * 20, *[False] * 10,
    ]  # fmt: skip
    assert (stored.details["silence-samples"], stored.details["concealed-samples"]) == (
        19_200, 0,
    )  # fmt: skip
    assert (anchor.counters.gaps_filled, anchor.counters.silence_samples) == (1, 19_200)
    assert anchor.gaps == [
        AudioGap(ORIGIN, UTC_AT_ZERO_MS + 500_400, 19_200, GapReason.MISSING, GapFilling.SILENCE)
    ]


def test_a_short_gap_is_left_to_the_decoder_to_conceal() -> None:
    """By packets without content, of the configuration of the last one."""
    anchor = Anchor()
    anchor.send(20, toc=0xFC)
    anchor.pause(0.1)
    anchor.send(25, toc=0xFC)
    [stored] = anchor.store.slices
    assert heard([stored])[20:25] == [b"\xfc"] * 5
    assert (stored.details["silence-samples"], stored.details["concealed-samples"]) == (
        0, 4800,
    )  # fmt: skip
    assert (anchor.counters.gaps_filled, anchor.counters.concealed_samples) == (1, 4800)
    assert [(gap.samples, gap.filling) for gap in anchor.gaps] == [(4800, GapFilling.CONCEALED)]


def test_after_a_packet_that_says_that_nothing_is_sent_the_decoder_goes_on() -> None:
    """Discontinuous transmission: it makes its comfort noise for as long as that takes."""
    anchor = Anchor()
    anchor.send(5)
    anchor.slicer.on_opus(OpusRun.of_one(b"\x48", anchor.timestamp, anchor.clock.now + 0.02))
    anchor.timestamp += 960
    anchor.clock.now += 0.02
    anchor.pause(0.4)
    anchor.send(5)
    anchor.slicer.close()
    assert heard(anchor.store.slices)[5:26] == [b"\x48"] * 21
    assert [(gap.samples, gap.reason) for gap in anchor.gaps] == [(19_200, GapReason.NOT_SENT)]


def test_a_gap_over_a_cut_is_filled_alike_on_both_sides() -> None:
    """What straddles the cut is in both files, and what is made up is counted in each."""
    anchor = Anchor()
    anchor.send(16, toc=0x18)  # SILK, 60 ms
    anchor.clock.now += 0.06
    anchor.timestamp += 2880
    anchor.send(16, toc=0x18)
    anchor.slicer.close()
    first, second = anchor.store.slices[:2]
    assert list(placed_packets(first))[-1].packet == b"\x18"
    around = [each for each in placed_packets(second) if each.start < 48_000 < each.end]
    assert [each.packet for each in around] == [b"\x18"]
    made_up = [int(each.details["concealed-samples"]) for each in (first, second)]
    assert made_up == [48_000 - 16 * 2880, 17 * 2880 - 48_000]


@pytest.mark.parametrize(
    ("toc", "pause_s", "is_concealed"),
    [(0xF8, 0.12, True), (0xF8, 0.14, False), (0x48, 0.06, True), (0x78, 0.08, False)],
    ids=["CELT", "CELT, long", "SILK", "hybrid, long"],
)
def test_where_silence_begins_depends_on_the_mode(
    toc: int, pause_s: float, is_concealed: bool
) -> None:
    """docs/decisions/gaps.md has the measurements."""
    anchor = Anchor()
    anchor.send(10, toc)
    anchor.clock.now += pause_s
    anchor.timestamp += round(pause_s * 48_000)
    anchor.send(10, toc)
    assert bool(anchor.counters.concealed_samples) == is_concealed
    assert bool(anchor.counters.silence_samples) != is_concealed


def test_a_mute_ends_the_slice_and_the_next_packet_begins_another() -> None:
    """Nothing is made up, and it ends where it would have without the mute."""
    anchor = Anchor()
    anchor.send(25)
    anchor.pause(4.2)
    anchor.send(15)
    first, second = anchor.store.slices
    assert (first.details["first-sample"], first.duration_ms) == (0, 500)
    assert (second.details["first-sample"], second.duration_ms) == (47 * 4800, 300)
    assert second.start_utc_ms == UTC_AT_ZERO_MS + 504_700
    assert heard([first, second]) == anchor.sent
    assert anchor.counters.gaps_filled == 0
    assert [(gap.samples, gap.filling) for gap in anchor.gaps] == [(201_600, GapFilling.NOTHING)]
    hidden = [each for each in placed_packets(second) if each.end <= 47 * 4800]
    assert all(is_silence(each.packet) for each in hidden)
    assert read_opus_file(bytes(second.data)).pre_skip == PRE_ROLL


def test_a_slice_whose_packets_stop_is_closed() -> None:
    """With its last packet: half a second after two, as packets take time to be handed over."""
    anchor = Anchor()
    anchor.send(25)
    anchor.pause(2.4)
    assert anchor.store.slices[0].duration_ms is None
    assert anchor.slicer.slicing
    anchor.pause(0.2)
    assert anchor.store.slices[0].duration_ms == 500
    assert not anchor.slicer.slicing
    anchor.pause(60)
    anchor.slicer.close()
    assert len(anchor.store.slices) == 1


def test_packets_that_come_late_find_their_slice_open() -> None:
    anchor = Anchor()
    anchor.send(25)
    anchor.pause(1.9, clock_runs=False)
    for _ in range(95):  # they were on their way, and come all at once
        anchor.clock.now -= 0.02
        anchor.send()
    anchor.slicer.close()
    assert heard(anchor.store.slices) == anchor.sent
    assert anchor.counters.gaps_filled == 0


def test_the_last_slice_ends_with_its_last_packet() -> None:
    anchor = Anchor()
    anchor.send(60)
    anchor.pause(0.5)
    anchor.slicer.close()
    assert [stored.duration_ms for stored in anchor.store.slices] == [1000, 200]
    anchor.slicer.close()
    assert anchor.counters.audio_slices == 2


def test_without_a_packet_there_is_nothing() -> None:
    anchor = Anchor()
    anchor.pause(10)
    anchor.slicer.close()
    assert anchor.store.slices == []


def test_a_new_source_goes_on_where_time_is() -> None:
    anchor = Anchor()
    anchor.send(20)
    anchor.slicer.on_restart()
    anchor.timestamp = 123
    anchor.pause(0.2)
    anchor.send(40)
    anchor.slicer.close()
    assert [
        packet for packet in heard(anchor.store.slices) if not is_silence(packet)
    ] == anchor.sent
    assert sum(int(stored.details["samples"]) for stored in anchor.store.slices) == pytest.approx(
        (20 + 10 + 40) * 960, abs=120
    )


@pytest.mark.parametrize(
    ("tocs", "channels"),
    [
        pytest.param([0xF8], [1, 1], id="mono"),
        pytest.param([0xFC], [2, 2], id="stereo"),
        pytest.param([0xF8] * 60 + [0xFC], [1, 2], id="stereo begins in the second slice"),
        pytest.param([0xFC] + [0xF8] * 99, [2, 1], id="stereo ends in the first slice"),
    ],
)
def test_the_header_says_stereo_where_a_packet_is(tocs: list[int], channels: list[int]) -> None:
    anchor = Anchor()
    for index in range(100):
        anchor.send(toc=tocs[min(index, len(tocs) - 1)])
    files = [read_opus_file(bytes(stored.data)) for stored in anchor.store.slices]
    assert [file.channels for file in files] == channels


def test_silence_in_stereo_audio_is_stereo() -> None:
    """A decoder need not change its mind about the channels for lost packets."""
    anchor = Anchor()
    anchor.send(5, toc=0xFC)
    anchor.pause(0.2)
    anchor.send(5, toc=0xFC)
    anchor.slicer.close()
    filled = [packet for packet in heard(anchor.store.slices) if is_silence(packet)]
    assert filled == [b"\xfc\xff\xfe"] * 10


def kept_ms(anchor: Anchor) -> int:
    """What a repair would make of the first slice as it is."""
    repaired = repair_ogg(bytes(anchor.store.slices[0].data))
    return 0 if repaired is None else repaired.duration_ms


def test_what_was_heard_a_second_ago_is_in_the_file() -> None:
    """At any packet, repairing what was appended so far loses a second at most."""
    anchor = Anchor(slice_s=15)
    for count in range(1, 300):
        anchor.send()
        assert count * 20 - 1000 <= kept_ms(anchor) <= count * 20


def test_when_packets_stop_all_but_the_last_reaches_the_file() -> None:
    anchor = Anchor(slice_s=15)
    anchor.send(30)
    anchor.pause(1.1)
    assert kept_ms(anchor) == 29 * 20
    anchor.send(30)
    anchor.slicer.close()
    assert len([packet for packet in heard(anchor.store.slices) if not is_silence(packet)]) == 60


def test_the_senders_own_time_is_kept_beside_ours() -> None:
    anchor = Anchor()
    anchor.send(25)
    anchor.slicer.on_sender_time(7_000 + 24_000, 1_800_000_000_500.25)
    anchor.send(75)
    assert [stored.details["sender-start-ms"] for stored in anchor.store.slices] == [
        1_800_000_000_000,
        1_800_000_001_000,
    ]


def test_a_sender_report_before_the_first_packet_says_nothing() -> None:
    anchor = Anchor()
    anchor.slicer.on_sender_time(99, 1_800_000_000_000.0)
    anchor.send(50)
    assert "sender-start-ms" not in anchor.store.slices[0].details


def test_the_file_carries_its_start() -> None:
    anchor = Anchor()
    anchor.send(50)
    file = read_opus_file(bytes(anchor.store.slices[0].data))
    assert file.comments[0] == "DATE=2023-11-14T22:21:40.000+00:00"


def test_the_file_says_what_the_slice_knows_as_an_independent_reader_finds_it() -> None:
    """After a gap, for which packets were lost."""
    anchor = Anchor()
    anchor.send(1)
    anchor.slicer.on_sender_time(7_000, 1_800_000_000_000.25)
    anchor.send(29)
    anchor.pause(0.2)
    anchor.lost = 10
    anchor.send(10)
    [stored] = anchor.store.slices
    told = {
        "first-sample": 0,
        "samples": 48_000,
        "silence-samples": 9600,
        "concealed-samples": 0,
        "packets-lost": 10,
        "sender-start-ms": 1_800_000_000_000,
        "sender-end-ms": 1_800_000_001_000,
        "missing-samples": 9600,
    }
    assert stored.details == told
    with av.open(io.BytesIO(bytes(stored.data))) as container:
        note = container.streams.audio[0].metadata["CLOUDSLICE"]
    told = {"duration-ms": 1000, **told}
    assert note.split() == [f"{name}={value}" for name, value in told.items() if value]


def test_a_file_that_a_kill_cuts_off_says_what_is_known() -> None:
    anchor = Anchor()
    anchor.send(30)
    anchor.slicer.on_sender_time(7_000, 1_800_000_000_000)
    anchor.send(60)
    anchor.pause(1.1)
    repaired = repair_ogg(bytes(anchor.store.slices[1].data))
    assert repaired is not None
    samples = 39 * 960
    assert repaired.details == {
        "first-sample": 48_000, "sender-start-ms": 1_800_000_001_000, "samples": samples,
    }  # fmt: skip
    file = read_opus_file(repaired.content)
    assert file.comments[1] == (
        f"CLOUDSLICE=duration-ms=780 first-sample=48000 sender-start-ms=1800000001000 "
        f"samples={samples} repaired=true"
    )
    again = repair_ogg(repaired.content)
    assert again is not None
    assert again.content == repaired.content
    first = repair_ogg(bytes(anchor.store.slices[0].data))
    assert first is not None
    assert first.content == anchor.store.slices[0].data, "it is whole"
    assert first.details["first-sample"] == 0


def test_how_loud_the_sender_says_it_is_is_told() -> None:
    """The mean is that of the energy; who says nothing is not counted."""
    anchor = Anchor()
    anchor.send(20)
    for peak, voiced in ((20, 1), (30, 0)):
        anchor.levels = Levels(1, voiced, peak, 10 ** (-peak / 10))
        anchor.send(15)
    [stored] = anchor.store.slices
    assert (stored.details["mean-dbov"], stored.details["peak-dbov"]) == (-23, -20)
    assert stored.details["voice-ms"] == 300
    assert b"mean-dbov=-23 peak-dbov=-20 voice-ms=300" in stored.data


def test_the_causes_of_what_was_filled_in_are_told() -> None:
    anchor = Anchor()
    anchor.send(5)
    anchor.slicer.on_opus(OpusRun.of_one(b"\x48", anchor.timestamp, anchor.clock.now + 0.02))
    anchor.timestamp += 960
    anchor.clock.now += 0.02
    anchor.pause(0.4)
    anchor.send(5)
    anchor.pause(0.1)
    anchor.send(5)
    anchor.slicer.close()
    [stored] = anchor.store.slices
    assert stored.details["not-sent-samples"] == 19_200
    assert stored.details["missing-samples"] == 4800
    assert "stood-still-samples" not in stored.details


def test_malformed_packets_are_counted_and_change_nothing() -> None:
    anchor = Anchor()
    anchor.send(10)
    anchor.slicer.on_opus(OpusRun.of_one(b"\xfb\x00", anchor.timestamp, anchor.clock.now))
    anchor.slicer.on_opus(OpusRun.of_one(b"\xfa", 0, anchor.clock.now))
    anchor.send(10)
    anchor.slicer.close()
    assert heard(anchor.store.slices) == anchor.sent
    assert anchor.counters.packets_malformed == 2


def test_slices_of_a_track_have_different_serial_numbers() -> None:
    """So that files joined one after the other are a valid chained stream."""
    anchor = Anchor()
    anchor.send(150)
    serials = [read_opus_file(bytes(each.data)).pages[0].serial for each in anchor.store.slices]
    assert len(set(serials)) == 3


_TOCS = st.sampled_from([0xE0, 0xE8, 0xF0, 0xF8, 0xFC, 0x10, 0x18, 0x0C])
"""2.5, 5, 10 and 20 ms of CELT, 40 and 60 ms of SILK, stereo ones among them."""
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 60), _TOCS),
        st.tuples(st.just("lose"), st.integers(1, 400), st.just(0)),
        st.tuples(st.just("mute"), st.integers(1, 60), st.just(0)),
        st.tuples(st.just("stall"), st.integers(1, 60), st.just(0)),
        st.tuples(st.just("restart"), st.integers(0, 2**40), st.just(0)),
        st.tuples(st.just("jump"), st.integers(-(2**33), 2**33), st.just(0)),
        st.tuples(st.just("drift"), st.integers(-300, 300), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(_STEPS)
def test_whatever_happens_slices_tile_and_no_packet_is_lost_or_doubled(
    steps: list[tuple[str, int, int]],
) -> None:
    anchor = Anchor()
    anchor.send()
    for step, amount, toc in steps:
        match step:
            case "send":
                anchor.send(amount, toc)
            case "lose":
                anchor.clock.now += amount * 0.0025
                anchor.timestamp += amount * 120
            case "mute":
                anchor.pause(amount / 10)
            case "stall":
                anchor.pause(amount / 10, clock_runs=False)
            case "restart":
                anchor.slicer.on_restart()
                anchor.timestamp = amount
            case "jump":
                anchor.timestamp += amount
            case "drift":
                anchor.timestamp += amount
    anchor.send()
    anchor.slicer.close()
    slices = anchor.store.slices
    assert [packet for packet in heard(slices) if not is_made_up(packet)] == anchor.sent

    starts = [int(stored.details["first-sample"]) for stored in slices]
    assert starts == sorted(set(starts))
    ended = 0
    for stored in slices:
        first, samples = (int(stored.details[name]) for name in ("first-sample", "samples"))
        assert first >= ended
        ended = first + samples
        assert first // 48_000 == (ended - 1) // 48_000, "a slice lies in one second"
    assert all(stored.duration_ms is not None for stored in slices)

    packet_at: dict[int, tuple[int, bytes]] = {}
    for stored in slices:
        for placed in placed_packets(stored):
            assert packet_at.setdefault(placed.start, (placed.end, placed.packet)) == (
                placed.end,
                placed.packet,
            )
    starts_of_packets = sorted(packet_at)
    for start, following in pairwise(starts_of_packets):
        assert packet_at[start][0] <= following


@settings(max_examples=50, deadline=None)
@given(_STEPS)
def test_media_time_is_real_time(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is lost or muted, the last packet lies where its arrival says, within the limit."""
    anchor = Anchor()
    anchor.send()
    for step, amount, toc in steps:
        if step == "send":
            anchor.send(amount, toc)
        elif step == "lose":
            anchor.clock.now += amount * 0.0025
            anchor.timestamp += amount * 120
        elif step == "mute":
            anchor.pause(amount / 10)
    anchor.send()
    anchor.slicer.close()
    last = anchor.store.slices[-1]
    end_s = (int(last.details["first-sample"]) + int(last.details["samples"])) / 48_000
    assert end_s == pytest.approx(anchor.clock.now - START, abs=0.001)


def test_it_goes_on_slicing_where_a_slice_ends_with_the_last_packet() -> None:
    """The next slice is not begun yet; nobody is to be told that nothing comes."""
    anchor = Anchor()
    assert not anchor.slicer.slicing
    anchor.send(50)
    assert [stored.duration_ms for stored in anchor.store.slices] == [1000]
    assert anchor.slicer.slicing
    anchor.pause(2.1)
    assert not anchor.slicer.slicing


@pytest.mark.parametrize("phase", [0.0, 0.3, 0.6, 0.9])
def test_what_came_is_on_its_way_to_the_disk_within_a_second(phase: float) -> None:
    """As a room hands it over: runs of 0.4 s, on ticks."""
    anchor = Anchor(slice_s=60)
    packets = [
        ArrivedPacket(numbered_packet(index), 960 * index, START + 0.02 * (index + 1))
        for index in range(1000)
    ]
    waiting: list[ArrivedPacket] = []
    handed = 0
    now = START + phase * PERIOD_S
    while now < packets[-1].arrival:
        now += PERIOD_S
        anchor.clock.now = now
        while handed + len(waiting) < 1000 and packets[handed + len(waiting)].arrival <= now:
            waiting.append(packets[handed + len(waiting)])
        if now - waiting[0].arrival >= 0.4:
            (run,) = make_runs(waiting, limit=1000)
            anchor.slicer.on_opus(run)
            handed += len(waiting)
            waiting.clear()
        anchor.slicer.tick(now)
        if anchor.store.slices:
            pages = read_pages(bytes(anchor.store.slices[0].data))[2:]
            written = sum(len(page.packets) for page in pages)
        else:
            pages, written = [], 0
        next_tick = now + PERIOD_S
        assert next_tick - packets[written].arrival <= 0.95 + PERIOD_S / 2, "and 50 ms to gather"
    sizes = [len(page.packets) for page in pages]
    assert sum(sizes) / len(sizes) > 20, "small pages cost more"


_STRETCHES = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 120, 960, 4000, 96_000]),  # samples lost before it
        _TOCS,
        st.lists(st.integers(1, 600), min_size=1, max_size=80),  # bytes of its packets
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(_STRETCHES, st.integers(2, 100))
def test_packets_in_runs_make_the_same_slices_as_one_by_one(
    stretches: list[tuple[int, int, list[int]]], limit: int
) -> None:
    packets = []
    timestamp = 0
    for lost, toc, sizes in stretches:
        timestamp += lost
        for size in sizes:
            payload = bytes([toc]) + bytes([len(packets) % 256]) * (size - 1)
            # No half milliseconds, which might be rounded either way.
            arrival = START + 1e-4 + (timestamp + packet_samples(payload)) / 48_000
            packets.append(ArrivedPacket(payload, timestamp, arrival))
            timestamp += packet_samples(payload)
    one_by_one, in_runs = Anchor(), Anchor()
    for anchor, longest in ((one_by_one, 1), (in_runs, limit)):
        for run in make_runs(packets, longest):
            anchor.slicer.on_opus(run)
        anchor.slicer.close()
    assert list(map(contents, in_runs.store.slices)) == list(map(contents, one_by_one.store.slices))
    assert in_runs.counters == one_by_one.counters
    durations = [[each.duration_ms for each in a.store.slices] for a in (in_runs, one_by_one)]
    assert durations[0] == pytest.approx(durations[1], abs=1)


def ends(anchor: Anchor) -> list[float]:
    """Seconds of media time at which finished slices end."""
    return [
        (int(each.details["first-sample"]) + int(each.details["samples"])) / 48_000
        for each in anchor.store.slices
        if each.duration_ms is not None
    ]


@pytest.mark.parametrize(
    ("sent", "to_s", "expected"),
    [
        pytest.param(75, 1, [2, 3, 4, 5], id="shorter"),
        pytest.param(75, 3, [2, 5, 8], id="longer"),
        pytest.param(75, 2, [2, 4, 6], id="the same"),
        pytest.param(150, 3, [2, 4, 7, 10], id="in the second slice"),
        pytest.param(100, 1, [2, 3, 4, 5], id="where a slice ends"),
        pytest.param(0, 1, [1, 2, 3, 4], id="before the first packet"),
    ],
)
def test_a_slice_under_way_ends_at_its_old_length(
    sent: int, to_s: int, expected: list[float]
) -> None:
    """From its end on slices have the new one, and still tile."""
    anchor = Anchor(slice_s=2)
    anchor.send(sent)
    anchor.slicer.set_length(to_s)
    anchor.send(round(expected[-1] * 50) - sent)
    anchor.slicer.close()
    assert ends(anchor) == expected
    assert heard(anchor.store.slices) == anchor.sent


def test_after_a_pause_the_slice_that_would_be_under_way_has_its_old_length() -> None:
    """As if packets had not stopped."""
    anchor = Anchor(slice_s=10)
    anchor.send(50)
    anchor.pause(4)
    anchor.slicer.set_length(3)
    anchor.send(500)
    anchor.slicer.close()
    assert ends(anchor) == [1, 10, 13, 15]


def test_the_length_can_be_changed_back() -> None:
    """What a failed call has changed."""
    anchor = Anchor(slice_s=2)
    anchor.send(75)
    anchor.slicer.set_length(3)
    anchor.slicer.set_length(2)
    anchor.send(225)
    anchor.slicer.close()
    assert ends(anchor) == [2, 4, 6]
