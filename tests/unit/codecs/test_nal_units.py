"""The bit stream of NAL units (ITU-T H.264, 7.4.1 and 9.1)."""

import pytest

from cloudslice.codecs.nal_units import BitReader, MalformedUnitError, without_escapes


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
    with pytest.raises(MalformedUnitError):
        BitReader(data).number()


def test_skips_bits_that_are_there() -> None:
    reader = BitReader(b"\xff\x40")
    reader.skip(9)
    assert reader.number() == 0
    with pytest.raises(MalformedUnitError):
        reader.skip(8)


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
