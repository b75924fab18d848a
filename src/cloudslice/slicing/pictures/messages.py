"""What the server's process and a worker say to each other, on one stream socket.

The server sends jobs, the worker sends answers, in the same order. A message is a header of fixed
length and the bytes that the header announces. Numbers are unsigned, the most significant byte
first; names are ASCII, filled up with zeros.

| job              | bytes |                                                       |
| ---------------- | ----- | ----------------------------------------------------- |
| number           | 4     | from 0 on, one more for each job                      |
| decoder          | 16    | FFmpeg's name of the key frame's decoder              |
| matrix           | 1     | of the codec's default colours                        |
| full range       | 1     | whether these are of full range: 0 or 1               |
| told colours     | 1     | whether what the decoder says of colours holds: 0, 1  |
| layers           | 1     | whether the decoder may give a frame for each layer   |
| format           | 4     | the name of the picture's format                      |
| rotation         | 2     | degrees clockwise                                     |
| length           | 4     | of the key frame, which follows                       |

| answer           | bytes |                                                       |
| ---------------- | ----- | ----------------------------------------------------- |
| number           | 4     | of the job; 0 if the worker says that it is ready     |
| outcome          | 1     | see `Outcome`                                         |
| width, height    | 2 + 2 | of the picture; 0 if there is none                    |
| length           | 4     | of what follows: the picture's file, or a text        |

The worker has decoded strangers' bytes: `AnswerReader` believes nothing that it says.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.picture import MAX_PIXELS, MAX_SIDE

JOB = struct.Struct("!I16sB???4sHI")
ANSWER = struct.Struct("!IBHHI")

MAX_TEXT = 500
"""Bytes."""
_FILE_OVERHEAD = 64 << 10
"""Bytes of a picture's file beside its pixels."""
_MAGIC = {ImageFormat.PNG: b"\x89PNG\r\n\x1a\n", ImageFormat.JPG: b"\xff\xd8\xff"}


class Outcome(IntEnum):
    """What an answer says."""

    READY = 0
    """The worker takes jobs. The text says what keeps its sandbox from being whole, if anything."""
    PICTURE = 1
    UNDECODABLE = 2
    """The text says why."""
    FAILED = 3
    """Something that nobody foresaw; the text says what."""


class MessageError(Exception):
    """The worker has said something that it cannot say."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a worker, whose form is right."""

    number: int
    outcome: Outcome
    width: int
    height: int
    data: bytes

    @property
    def text(self) -> str:
        """What it says in words: one line that is fit for a log."""
        text = self.data.decode("utf-8", "replace")
        return "".join(each if each.isprintable() else "?" for each in text)

    def is_file(self, image_format: ImageFormat) -> bool:
        """Whether it begins like a picture's file in that format."""
        return self.data.startswith(_MAGIC[image_format])


class AnswerReader:
    """Puts a worker's answers together from the pieces in which they come."""

    def __init__(self) -> None:
        self._header = bytearray(ANSWER.size)
        self._body: bytearray | None = None
        """None while the header is not complete."""
        self._space = memoryview(self._header)
        self._filled = 0

    @property
    def space(self) -> memoryview:
        """Where the next bytes belong; never empty."""
        return self._space[self._filled :]

    def add(self, count: int) -> Answer | None:
        """`count` bytes are in `space` now. Gives the answer that they complete.

        Raises:
            MessageError: no worker says that. Nothing more can be read.
        """
        self._filled += count
        if self._filled < len(self._space):
            return None
        if self._body is None:
            self._body = bytearray(_checked_length(self._header))
            if self._body:
                self._space, self._filled = memoryview(self._body), 0
                return None
        number, outcome, width, height, _ = ANSWER.unpack(self._header)
        answer = Answer(number, Outcome(outcome), width, height, bytes(self._body))
        self._expect_header()
        return answer

    def _expect_header(self) -> None:
        self._body = None
        self._space = memoryview(self._header)
        self._filled = 0


def _checked_length(header: bytearray) -> int:
    _, outcome, width, height, length = ANSWER.unpack(header)
    if outcome == Outcome.PICTURE:
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
            raise MessageError(f"a picture of {width}x{height}")
        # Deflate adds next to nothing to what it cannot make smaller.
        limit = (3 * width + 1) * height * 101 // 100 + _FILE_OVERHEAD
    elif outcome in list(Outcome):
        limit = MAX_TEXT
        if width or height:
            raise MessageError(f"a size of {width}x{height} without a picture")
    else:
        raise MessageError(f"outcome {outcome}")
    if length > limit:
        raise MessageError(f"{length} bytes for outcome {outcome}, {width}x{height}")
    return int(length)
