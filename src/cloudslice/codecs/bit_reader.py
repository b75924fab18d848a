"""Reads the bits of a codec's headers one after the other."""


class MalformedBitsError(ValueError):
    """A header ends too early."""


class BitReader:
    """Reads bits, the most significant one of each byte first.

    Args:
        data: what is read, at most some hundred bytes: it is kept as one number.
    """

    def __init__(self, data: bytes) -> None:
        self._bits = int.from_bytes(data)
        self._left = 8 * len(data)

    @property
    def left(self) -> int:
        """How many bits are left."""
        return self._left

    def skip(self, bits: int) -> None:
        """Leave out `bits` bits.

        Raises:
            MalformedBitsError: there are fewer.
        """
        if bits > self._left:
            raise MalformedBitsError("the header is cut off")
        self._left -= bits

    def bits(self, count: int) -> int:
        """The number that the next `count` bits are.

        Raises:
            MalformedBitsError: there are fewer.
        """
        self.skip(count)
        return self._bits >> self._left & ((1 << count) - 1)

    def flag(self) -> bool:
        """The next bit.

        Raises:
            MalformedBitsError: there is none.
        """
        return bool(self.bits(1))

    def number(self) -> int:
        """The next Exp-Golomb number: ue(v) of ITU-T H.264, 9.1, uvlc() of AV1, 4.10.3.

        Raises:
            MalformedBitsError: it is cut off.
        """
        rest = self._bits & ((1 << self._left) - 1)
        length = 2 * (self._left - rest.bit_length()) + 1
        if length > self._left:
            raise MalformedBitsError("a number is cut off")
        self._left -= length
        return (rest >> self._left) - 1
