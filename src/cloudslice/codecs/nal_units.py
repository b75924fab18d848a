"""What codecs of NAL units have in common: how units are escaped (ITU-T H.264, 7.4.1), and their
byte stream (annex B).
"""

from collections.abc import Iterable

from cloudslice.codecs.bit_reader import BitReader

_START_CODE = b"\x00\x00\x00\x01"


def join_units(units: Iterable[bytes]) -> bytes:
    """The byte stream of units."""
    return b"".join(_START_CODE + unit for unit in units)


def split_units(stream: bytes) -> list[bytes]:
    """The units of a byte stream."""
    # Zeros behind a unit mean nothing (ITU-T H.264, B.2): they may be of the next start code.
    units = (each.rstrip(b"\0") for each in stream.split(_START_CODE[1:]))
    return [each for each in units if each]


def without_escapes(data: bytes) -> bytes:
    """A unit's bytes as they are meant: emulation prevention bytes left out (H.264, 7.4.1)."""
    return data.replace(b"\0\0\3", b"\0\0")


def unit_reader(data: bytes) -> BitReader:
    """Reads the bits behind a NAL unit's header, of which `data` has emulation prevention bytes."""
    return BitReader(without_escapes(data))
