"""The native library has the structures that Python has of it, or is not loaded."""

import ctypes
import re
import struct
from pathlib import Path

import pytest

from cloudslice.rtp import native, packet, srtp
from cloudslice.rtp.native import (
    BatchStruct,
    NativeLibraryError,
    PeerStruct,
    StreamStruct,
    count_packet,
)
from helpers.rtp import Unprotect, make_batch, rtp_packet, ssrcs_heard

HEADER = re.sub(
    r"/\*.*?\*/", "", Path(native.__file__).with_name("native.h").read_text(), flags=re.DOTALL
)
C_TYPES = {
    "bool": ctypes.c_bool,
    "double": ctypes.c_double,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint8_t": ctypes.c_uint8,
    "uint16_t": ctypes.c_uint16,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


def fields_of(name: str) -> list[tuple[str, object]]:
    """The fields of a structure in native.h, as ctypes has them."""
    body = re.search(rf"^struct {name} {{(.*?)^}};", HEADER, re.MULTILINE | re.DOTALL)
    assert body is not None
    found: list[tuple[str, object]] = []
    for kind, pointer, field, count in re.findall(
        r"([\w ]+?) (\*?)(\w+)(?:\[(\d+)\])?;", body[1].replace("\n", " ")
    ):
        base = ctypes.c_void_p if pointer else C_TYPES.get(kind.strip())
        found.append((field, base * int(count) if base is not None and count else base))
    return found


@pytest.mark.parametrize(
    ("name", "structure"),
    [("batch", BatchStruct), ("stream", StreamStruct), ("peer", PeerStruct)],
)
def test_structures_have_the_fields_of_the_header(
    name: str, structure: type[ctypes.Structure]
) -> None:
    """In its order, so that they are in the same places."""
    fields = fields_of(name)
    assert len(fields) > 5
    assert list(structure._fields_) == fields


def test_an_item_has_the_fields_of_the_header() -> None:
    codes = {
        "int64_t": "q",
        "double": "d",
        "uint32_t": "I",
        "uint16_t": "H",
        "uint8_t": "B",
    }
    of_type = {C_TYPES[name]: code for name, code in codes.items()}
    assert native.ITEM.format == "@" + "".join(of_type[kind] for _, kind in fields_of("item"))  # type: ignore[index]


def test_numbers_are_those_of_the_header() -> None:
    defined = {
        name: int(value)
        for name, value in re.findall(r"^#define (\w+) (\d+)$", HEADER, re.MULTILINE)
    }
    kinds = re.search(r"enum kind { (\w+), (\w+) };", HEADER)
    assert kinds is not None
    assert defined.pop("HEADER_LENGTH") == packet.HEADER_LENGTH
    assert defined.pop("MAX_PACKET") == srtp.MAX_PACKET
    assert defined == {name: getattr(native, name) for name in defined}
    assert len(defined) == 6
    assert [getattr(native, name) for name in kinds.groups()] == [0, 1]


def test_a_missing_library_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(native, "_PATH", tmp_path / "packets.so")
    with pytest.raises(NativeLibraryError, match=r"packets\.so.*not built.*make venv"):
        native._load(ctypes.CDLL)


def test_a_library_of_another_machine_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "packets.so").write_bytes(b"\x7fELF of another machine")
    monkeypatch.setattr(native, "_PATH", tmp_path / "packets.so")
    with pytest.raises(NativeLibraryError, match=r"packets\.so.*not built.*make venv"):
        native._load(ctypes.CDLL)


def test_a_library_with_other_structures_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Made of the sources of another version."""
    monkeypatch.setattr(native, "ITEM", struct.Struct("@qqdd"))
    with pytest.raises(NativeLibraryError, match=r"packets\.so.*other sources.*make venv"):
        native._load(ctypes.CDLL)


def test_a_library_that_tells_nothing_of_its_structures_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever it is."""
    monkeypatch.setattr(native, "_PATH", "libc.so.6")
    with pytest.raises(NativeLibraryError, match=r"libc\.so\.6.*other sources.*make venv"):
        native._load(ctypes.CDLL)


def test_a_peer_listens_to_the_streams_it_was_told_last() -> None:
    streams = [StreamStruct(ssrc=ssrc) for ssrc in (5, 7, 9)]
    peer = PeerStruct()
    assert ssrcs_heard(peer) == []
    peer.listen_to(streams)
    assert set(ssrcs_heard(peer)) == {5, 7, 9}
    peer.listen_to(streams[1:2])
    assert ssrcs_heard(peer) == [7]
    peer.listen_to([])
    assert ssrcs_heard(peer) == []


@pytest.mark.parametrize("length", [-1, 0, 11, 1501, (1 << 31) - 1, -(1 << 31)])
@pytest.mark.parametrize("status", [0, 7])
def test_lengths_that_no_packet_has_are_refused(length: int, status: int) -> None:
    """They would lead out of the packet's slot; libsrtp gives none, by its documentation."""

    @Unprotect
    def unprotect(_srtp, _packet, told) -> int:  # type: ignore[no-untyped-def]
        told[0] = length
        return status

    peer = PeerStruct(unprotect=ctypes.cast(unprotect, ctypes.c_void_p).value)
    assert make_batch(rtp_packet(1, 2)).open(0, peer) is None
    assert peer.not_authentic + peer.malformed == 1


@pytest.mark.parametrize(
    ("status", "counted"), [(9, "repeated"), (10, "repeated"), (7, "not_authentic")]
)
def test_what_libsrtp_says_is_counted(status: int, counted: str) -> None:
    unprotect = Unprotect(lambda _srtp, _packet, _length: status)
    peer = PeerStruct(unprotect=ctypes.cast(unprotect, ctypes.c_void_p).value)
    assert make_batch(rtp_packet(1, 2)).open(0, peer) is None
    assert (getattr(peer, counted), peer.repeated + peer.not_authentic) == (1, 1)


def test_libsrtp_is_given_its_context_and_the_packet_in_its_place() -> None:
    given = []

    def unprotect(context, packet, length) -> int:  # type: ignore[no-untyped-def]
        given.append((context, ctypes.string_at(packet, length[0])))
        return 0

    callback = Unprotect(unprotect)
    peer = PeerStruct(unprotect=ctypes.cast(callback, ctypes.c_void_p).value, srtp=0x5EED)
    batch = make_batch(b"\x00another", rtp_packet(1, 2, b"payload"))
    batch.open(1, peer)
    assert given == [(0x5EED, rtp_packet(1, 2, b"payload"))]


def test_packets_before_the_first_one_have_numbers_below_zero() -> None:
    """They came late, and their stream begins at the end of the 16 bits."""
    stream = StreamStruct(clock_rate=48_000, counted_in=8, highest=-1, timestamp=-1)
    assert [count_packet(stream, each, 0, 0.0) for each in (3, 0xFFFE, 0xFFF8, 4)] == [3, -2, -8, 4]
    assert (stream.base, stream.highest, stream.counted) == (3, 4, 1)
