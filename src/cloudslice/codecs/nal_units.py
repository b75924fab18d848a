"""What codecs of NAL units have in common: how their bytes are escaped (ITU-T H.264, 7.4.1)."""

from cloudslice.codecs.bit_reader import BitReader


def without_escapes(data: bytes) -> bytes:
    """A unit's bytes as they are meant: emulation prevention bytes left out (H.264, 7.4.1)."""
    return data.replace(b"\0\0\3", b"\0\0")


def unit_reader(data: bytes) -> BitReader:
    """Reads the bits behind a NAL unit's header, of which `data` has emulation prevention bytes."""
    return BitReader(without_escapes(data))
