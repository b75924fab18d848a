"""The native library has the structures that Python has of it, or is not loaded; and it takes RTP
apart as RFC 3550 has it."""

import ctypes
import re
import struct
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.webrtc import native
from cloudslice.webrtc.native import NativeLibraryError, PeerState, Report, StreamState
from cloudslice.webrtc.native import native_events as events
from cloudslice.webrtc.native.native_port import FreedError, StreamKind
from cloudslice.webrtc.udp import paths
from helpers.native_peer import (
    AUDIO_SSRC,
    OPUS,
    OpusSender,
    Receiving,
    numbers,
    packets,
    rtp,
    unknown,
)
from helpers.rtp import one_byte_extension, rtp_packet

HEADER = re.sub(
    r"/\*.*?\*/", "", Path(native.__file__).with_name("native.h").read_text(), flags=re.DOTALL
)
C_TYPES = {
    "bool": ctypes.c_bool,
    "double": ctypes.c_double,
    "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


def fields_of(name: str) -> list[tuple[str, type]]:
    """The fields of a structure in native.h, as ctypes has them."""
    body = re.search(rf"^struct {name} {{(.*?)^}};", HEADER, re.MULTILINE | re.DOTALL)
    assert body is not None
    found: list[tuple[str, type]] = []
    for kind, pointer, field, count in re.findall(
        r"([\w ]+?) (\*?)(\w+)(?:\[(\w+)\])?;", body[1].replace("\n", " ")
    ):
        base = ctypes.c_void_p if pointer else C_TYPES[kind.strip()]
        length = number_of(count) if count else 0
        found.append((field, base * length if length else base))
    return found


def number_of(name: str) -> int:
    defined = re.search(rf"^#define {name} (\d+)$", HEADER, re.MULTILINE)
    assert defined is not None
    return int(defined[1])


@pytest.mark.parametrize(
    ("name", "structure"),
    [("stream_state", StreamState), ("peer_state", PeerState), ("report", Report)],
)
def test_structures_have_the_fields_of_the_header(
    name: str, structure: type[ctypes.Structure]
) -> None:
    """In its order, so that they are in the same places."""
    assert list(structure._fields_) == fields_of(name)


def test_an_event_has_the_fields_of_the_header() -> None:
    codes = {
        ctypes.c_void_p: "P",
        ctypes.c_int64: "q",
        ctypes.c_double: "d",
        ctypes.c_uint32: "I",
        ctypes.c_uint16: "H",
        ctypes.c_uint8: "B",
        ctypes.c_bool: "?",
    }
    fields = "".join(codes[kind] for _name, kind in fields_of("event"))
    assert re.fullmatch(rf"@{re.escape(fields)}(\dx)?", native.EVENT.format)


def test_numbers_are_those_of_the_header() -> None:
    assert number_of("PATH_BYTES") == native.PATH_BYTES == paths.PATH_BYTES
    assert number_of("MAX_EVENTS") == native.MAX_EVENTS
    kinds = re.search(r"enum event_kind {(.*?)}", HEADER, re.DOTALL)
    assert kinds is not None
    names = re.findall(r"\b([A-Z]+)\b", kinds[1])
    assert [getattr(events, f"_{each}") for each in names] == list(range(1, len(names) + 1))
    assert len(events._MAKERS) == len(names)
    assert "enum stream_kind { AUDIO, VIDEO };" in HEADER
    assert list(StreamKind) == [0, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "not built"), (b"\x7fELF of another machine", "not built")],
    ids=["missing", "another machine's"],
)
def test_a_library_that_cannot_be_loaded_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "packets.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(native, "_LIBRARY", path)
    with pytest.raises(NativeLibraryError, match=rf"packets\.so.*{reason}.*make venv"):
        native._load(ctypes.CDLL)


def test_a_library_with_other_structures_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made of the sources of another version."""
    monkeypatch.setattr(native, "EVENT", struct.Struct("@qqdd"))
    with pytest.raises(NativeLibraryError, match=r"packets\.so.*other sources.*make venv"):
        native._load(ctypes.CDLL)


def test_a_library_that_tells_nothing_of_its_structures_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it is."""
    monkeypatch.setattr(native, "_LIBRARY", "libc.so.6")
    with pytest.raises(NativeLibraryError, match=r"libc\.so\.6.*other sources.*make venv"):
        native._load(ctypes.CDLL)


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    with closing(Receiving()) as opened:
        yield opened


def test_what_is_known_of_a_stream_stays_when_it_is_freed(receiving: Receiving) -> None:
    """By itself or with its peer, and twice."""
    first = receiving.audio()
    second = receiving.video()
    receiving.put(*OpusSender(receiving).packets(3))
    receiving.process()
    first.close()
    first.close()
    receiving.peer.close()
    for stream, received in ((first, 3), (second, 0)):
        stream.close()
        assert stream.state.received == received


def test_what_was_freed_is_not_used() -> None:
    """An error that can be caught: the library would end the process."""
    with closing(Receiving()) as receiving:
        stream = receiving.video()
        stream.close()
        with pytest.raises(FreedError, match="NativeStream"):
            stream.read(is_read=True)
        receiving.peer.close()
        with pytest.raises(FreedError, match="NativePeer"):
            receiving.port.flush(receiving.peer)
        receiving.port.close()
        with pytest.raises(FreedError, match="NativePort"):
            receiving.port.process(0.0)


def test_one_stream_can_be_flushed_alone(receiving: Receiving) -> None:
    """Another one goes on waiting for what is missing."""
    receiving.audio()
    other = receiving.peer.add_stream(
        0xA1, 5, StreamKind.AUDIO, clock_rate=48_000, payload_types=(OPUS,), attempts=3
    )
    sender = OpusSender(receiving)
    sent = sender.packets(3)
    receiving.put(sent[0], sent[2])
    receiving.put(receiving.protect(rtp(0xA1, 0, 0, b"\xf8" + bytes(8))))
    receiving.process()
    (event,) = receiving.port.flush_stream(other)
    assert event.track == 5  # type: ignore[union-attr]
    receiving.put(sent[1])
    receiving.process()
    assert numbers(receiving.flush()) == [0, 1, 2]


def test_a_packet_is_taken_apart(receiving: Receiving) -> None:
    """Contributing sources, a header extension and padding (RFC 3550, 5.1)."""
    extension = one_byte_extension((3, b"\x01"))
    packet = bytearray(
        rtp_packet(7, 99, b"payload\x00\x00\x03", extension=extension, marker=True, ssrc=5)
    )
    packet[0] |= 0x20 | 2
    packet[12:12] = bytes(8)
    receiving.put(receiving.protect(bytes(packet)))
    (event,) = unknown(receiving.process())
    assert event.packet == (OPUS, True, 7, 99, b"payload", 0.0, extension[4:], 0xBEDE)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(rtp_packet(1, 2, b"\x02", extension=b"")[:12], id="empty: may keep a place"),
        pytest.param(b"\xa0" + rtp_packet(1, 2, b"\x00")[1:], id="padding of 0"),
        pytest.param(b"\xa0" + rtp_packet(1, 2, b"\x05")[1:], id="longer padding than payload"),
        pytest.param(b"\x8f" + rtp_packet(1, 2, bytes(30))[1:], id="sources cut off"),
        pytest.param(
            b"\x90" + rtp_packet(1, 2, b"\xbe\xde\x00")[1:], id="extension's head cut off"
        ),
        pytest.param(b"\x90" + rtp_packet(1, 2, b"\xbe\xde\x00\x05")[1:], id="extension cut off"),
    ],
)
def test_packets_that_break_the_rules_are_counted(packet: bytes, receiving: Receiving) -> None:
    """Where libsrtp has not refused them already."""
    stream = receiving.peer.add_stream(
        int.from_bytes(packet[8:12]), 1, StreamKind.AUDIO, clock_rate=48_000, attempts=0
    )
    try:
        datagram = receiving.protect(packet)
    except Exception:
        datagram = packet + bytes(16)
    receiving.put(datagram)
    receiving.process()
    state = receiving.peer.state
    assert state.malformed + state.not_authentic + stream.state.received == 1
    assert receiving.flush() == []


@given(tail=st.binary(max_size=60), first=st.integers(0x80, 0xBF))
def test_garbage_is_read_or_refused(tail: bytes, first: int) -> None:
    """What an authentic peer encrypts, whatever it is; what is read is a piece of it."""
    with closing(Receiving(slots=4)) as receiving:
        packet = bytes([first]) + rtp_packet(1, 2, tail)[1:]
        try:
            datagram = receiving.protect(packet)
        except Exception:
            return
        receiving.put(datagram)
        for event in unknown(receiving.process()):
            assert event.packet.payload in packet
            assert event.packet.extensions in packet
        state = receiving.peer.state
        assert state.malformed + state.not_authentic + state.unassigned == 1


@pytest.mark.parametrize("second", [191, 224])
def test_the_neighbours_of_rtcp_are_rtp(receiving: Receiving, second: int) -> None:
    """RFC 5761, 4: a marker bit before payload types 64 to 95 would be RTCP's."""
    packet = bytearray(rtp_packet(1, 2, b"x"))
    packet[1] = second
    receiving.put(receiving.protect(bytes(packet)))
    (event,) = unknown(receiving.process())
    assert event.packet.payload_type == second & 0x7F


@pytest.mark.parametrize("payload_type", [0, 7, 8, 111, 127])
def test_any_payload_type_can_be_negotiated(receiving: Receiving, payload_type: int) -> None:
    stream = receiving.peer.add_stream(
        AUDIO_SSRC, 1, StreamKind.AUDIO, clock_rate=48_000, payload_types=[payload_type], attempts=0
    )
    packet = rtp(AUDIO_SSRC, 0, 0, b"\xf8" + bytes(8), payload_type=payload_type)
    receiving.put(receiving.protect(packet))
    receiving.process()
    assert (numbers(receiving.flush()), stream.state.foreign) == ([0], 0)


def steady(receiving: Receiving, arrivals: list[float], *, timestamp: int = 0) -> Report:
    """The report of packets of 20 ms that come at these seconds."""
    stream = receiving.audio()
    for index, arrival in enumerate(arrivals):
        packet = rtp(AUDIO_SSRC, index, timestamp + 960 * index, b"\xf8" + bytes(8))
        receiving.put(receiving.protect(packet), arrival=arrival)
    receiving.process()
    report = stream.report()
    assert report is not None
    return report


def test_jitter_follows_the_delay(receiving: Receiving) -> None:
    """RFC 3550, A.8: packets that come 10 ms early and late in turns have a jitter near 20 ms."""
    arrivals = [index * 0.02 + (0.01 if index % 2 else -0.01) for index in range(500)]
    assert steady(receiving, arrivals).jitter == pytest.approx(960, rel=0.1)


def test_jitter_survives_the_wrap_of_timestamps(receiving: Receiving) -> None:
    """A steady stream has none, before and after."""
    arrivals = [index * 0.02 for index in range(500)]
    assert steady(receiving, arrivals, timestamp=(1 << 32) - 960 * 250).jitter <= 1


def test_report_of_a_lossy_stream(receiving: Receiving) -> None:
    """RFC 3550, A.3: of 10 expected since the start 8 came; then 10 of 10; then 1 twice."""
    stream = receiving.audio(patience_s=0.0)
    sender = OpusSender(receiving)
    reports = []
    for missing in ({3, 4}, set()):
        receiving.put(*(each for at, each in enumerate(sender.packets(10)) if at not in missing))
        receiving.process()
        reports.append(stream.report())
    assert all(reports)
    assert [(each.fraction_lost, each.packets_lost) for each in reports if each] == [
        (51, 2),
        (0, 2),
    ]
    again = stream.report()
    assert again is not None
    assert (again.fraction_lost, again.packets_lost, again.highest) == (0, 2, 19)


@given(
    start=st.integers(0, 0xFFFF), steps=st.lists(st.integers(1, 0x6FFF), min_size=1, max_size=30)
)
def test_sequences_are_extended_over_wraps(start: int, steps: list[int]) -> None:
    """Whatever is sent within less than half the range of the newest gets its true number."""
    with closing(Receiving(slots=64)) as receiving:
        stream = receiving.video()
        stream.read(is_read=True)
        sent = [start]
        for each in steps:
            sent.append(sent[-1] + each)
        for index, sequence in enumerate(sent):
            packet = rtp(receiving_ssrc(), sequence, 0, b"x", payload_type=102)
            receiving.put(receiving.protect(packet), arrival=index)
        found = [each.packet.sequence for each in packets(receiving.process(now=100.0))]
        assert found == sent
        assert all(earlier < later for earlier, later in pairwise(found))


def receiving_ssrc() -> int:
    return 0xB0
