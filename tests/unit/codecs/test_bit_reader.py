"""Bits of headers, and those of NAL units (ITU-T H.264, 7.4.1 and 9.1)."""

import pytest

from cloudslice.codecs.bit_reader import BitReader, MalformedBitsError
from cloudslice.codecs.nal_units import unit_reader, without_escapes


@pytest.mark.parametrize(
    ("bits", "numbers"),
    [
        ("1 010 011 1", [0, 1, 2, 0]),
        ("00100 111", [3, 0, 0, 0]),
        ("0001000 1", [7, 0]),
        ("00000000 1 00000001 1000000", [256, 0]),
    ],
)
def test_reads_exp_golomb_numbers(bits: str, numbers: list[int]) -> None:
    digits = bits.replace(" ", "")
    reader = BitReader(int(digits, 2).to_bytes(len(digits) // 8))
    assert [reader.number() for _ in numbers] == numbers


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x80", b"\x01"])
def test_a_number_that_is_cut_off_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedBitsError):
        BitReader(data).number()


def test_skips_bits_that_are_there() -> None:
    reader = BitReader(b"\xff\x40")
    reader.skip(9)
    assert reader.number() == 0
    with pytest.raises(MalformedBitsError):
        reader.skip(8)


def test_reads_bits_that_are_there() -> None:
    reader = BitReader(b"\xa5\x0f")
    assert (reader.bits(3), reader.flag(), reader.bits(0), reader.bits(9)) == (5, False, 0, 0xA1)
    assert reader.left == 3
    with pytest.raises(MalformedBitsError):
        reader.bits(4)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"\x00\x00\x03\x01", b"\x00\x00\x01"),
        (b"\x00\x00\x03\x00\x00\x03", b"\x00\x00\x00\x00"),
        (b"\x00\x03\x00", b"\x00\x03\x00"),
    ],
)
def test_leaves_out_emulation_prevention(sent: bytes, meant: bytes) -> None:
    assert without_escapes(sent) == meant
    assert unit_reader(sent).bits(8 * len(meant)) == int.from_bytes(meant)
