"""Text in synthetic pictures: FFmpeg's `drawtext` needs a font file, which a bare machine lacks."""

from functools import cache

import numpy as np
import numpy.typing as npt

# Five columns by seven rows a letter; a row is one hexadecimal pair, its highest bit leftmost.
_GLYPHS = {
    "0": "0E11131519110E",
    "1": "040C040404040E",
    "2": "0E11010204081F",
    "3": "1F02040201110E",
    "4": "02060A121F0202",
    "5": "1F101E0101110E",
    "6": "0608101E11110E",
    "7": "1F010204080808",
    "8": "0E11110E11110E",
    "9": "0E11110F01020C",
    "A": "0E11111F111111",
    "B": "1E11111E11111E",
    "C": "0E11101010110E",
    "D": "1C12111111121C",
    "E": "1F10101E10101F",
    "F": "1F10101E101010",
    "G": "0E11101711110F",
    "H": "1111111F111111",
    "I": "0E04040404040E",
    "J": "0702020202120C",
    "K": "11121418141211",
    "L": "1010101010101F",
    "M": "111B1515111111",
    "N": "11111915131111",
    "O": "0E11111111110E",
    "P": "1E11111E101010",
    "Q": "0E11111115120D",
    "R": "1E11111E141211",
    "S": "0F10100E01011E",
    "T": "1F040404040404",
    "U": "1111111111110E",
    "V": "11111111110A04",
    "W": "11111115151B11",
    "X": "11110A040A1111",
    "Y": "1111110A040404",
    "Z": "1F01020408101F",
    ":": "000C0C000C0C00",
    ".": "00000000000C0C",
    "-": "0000001F000000",
    "_": "0000000000001F",
    " ": "00000000000000",
    "?": "0E110102040004",
}

Mask = npt.NDArray[np.bool_]


def text_mask(text: str, scale: int) -> Mask:
    """Where the ink of a line of `text` is: (7 * scale, 6 * scale * len(text)) bool.

    Letters are capitals; what has no glyph becomes a question mark.
    """
    if not text:
        return np.zeros((7 * scale, 0), dtype=np.bool_)
    return np.concatenate([_glyph_mask(letter, scale) for letter in text.upper()], axis=1)


@cache
def _glyph_mask(letter: str, scale: int) -> Mask:
    rows = np.frombuffer(bytes.fromhex(_GLYPHS.get(letter, _GLYPHS["?"])), dtype=np.uint8)
    ink = np.unpackbits(rows[:, np.newaxis], axis=1)[:, 3:]
    small = np.pad(ink, ((0, 0), (0, 1)))
    return small.repeat(scale, axis=0).repeat(scale, axis=1).astype(np.bool_)
