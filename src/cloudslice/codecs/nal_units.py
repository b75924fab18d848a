"""What codecs of NAL units have in common: their bit stream (ITU-T H.264, 7.3 and 9.1)."""


class MalformedUnitError(ValueError):
    """A NAL unit ends too early, or says what cannot be."""


def without_escapes(data: bytes) -> bytes:
    """A unit's bytes as they are meant: emulation prevention bytes left out (H.264, 7.4.1)."""
    return data.replace(b"\0\0\3", b"\0\0")


class BitReader:
    """Reads the bits behind a NAL unit's header.

    Args:
        data: as it was sent, with emulation prevention bytes.
    """

    def __init__(self, data: bytes) -> None:
        payload = without_escapes(data)
        self._bits = int.from_bytes(payload)
        self._left = 8 * len(payload)

    def skip(self, bits: int) -> None:
        """Leave out `bits` bits.

        Raises:
            MalformedUnitError: there are fewer.
        """
        if bits > self._left:
            raise MalformedUnitError("the unit is cut off")
        self._left -= bits

    def flag(self) -> bool:
        """The next bit.

        Raises:
            MalformedUnitError: there is none.
        """
        self.skip(1)
        return bool(self._bits >> self._left & 1)

    def number(self) -> int:
        """The next Exp-Golomb number, ue(v) (H.264, 9.1).

        Raises:
            MalformedUnitError: it is cut off.
        """
        rest = self._bits & ((1 << self._left) - 1)
        length = 2 * (self._left - rest.bit_length()) + 1
        if length > self._left:
            raise MalformedUnitError("a number is cut off")
        self._left -= length
        return (rest >> self._left) - 1
