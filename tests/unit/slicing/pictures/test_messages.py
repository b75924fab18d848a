"""What a worker says is believed only as far as it can be true: a stranger's video may have it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.messages import (
    ANSWER,
    MAX_TEXT,
    Answer,
    AnswerReader,
    MessageError,
    Outcome,
)

PICTURE, UNDECODABLE = Outcome.PICTURE, Outcome.UNDECODABLE


def message(
    outcome: int, data: bytes = b"", *, number: int = 0, width: int = 0, height: int = 0
) -> bytes:
    return ANSWER.pack(number, outcome, width, height, len(data)) + data


def read(data: bytes, piece: int = 1 << 20) -> list[Answer]:
    """What a reader makes of `data` that comes in pieces of some bytes."""
    reader = AnswerReader()
    answers = []
    while data:
        space = reader.space
        count = min(piece, len(space), len(data))
        space[:count] = data[:count]
        data = data[count:]
        answer = reader.add(count)
        if answer is not None:
            answers.append(answer)
    return answers


@given(st.integers(1, 40))
def test_answers_are_read_whatever_the_pieces(piece: int) -> None:
    sent = [
        Answer(0, Outcome.READY, 0, 0, b""),
        Answer(0, PICTURE, 640, 360, b"a picture" * 9),
        Answer(1, UNDECODABLE, 0, 0, b"torn"),
        Answer(2, PICTURE, 1, 1, b"x"),
    ]
    data = b"".join(
        message(each.outcome, each.data, number=each.number, width=each.width, height=each.height)
        for each in sent
    )
    assert read(data, piece) == sent


@pytest.mark.parametrize(
    "header",
    [
        pytest.param((0, 4, 0, 0, 0), id="unknown outcome"),
        pytest.param((0, PICTURE, 0, 360, 9), id="no width"),
        pytest.param((0, PICTURE, 640, 0, 9), id="no height"),
        pytest.param((0, PICTURE, 8193, 16, 9), id="too wide"),
        pytest.param((0, PICTURE, 8192, 8192, 9), id="too many pixels"),
        pytest.param((0, PICTURE, 64, 64, 100_000), id="more than its pixels can need"),
        pytest.param((0, PICTURE, 7680, 4320, 0xFFFF_FFFF), id="gigabytes"),
        pytest.param((0, UNDECODABLE, 0, 0, MAX_TEXT + 1), id="a long text"),
        pytest.param((0, UNDECODABLE, 64, 64, 4), id="a size without a picture"),
        pytest.param((0, Outcome.READY, 0, 0, 0xFFFF_FFFF), id="gigabytes of readiness"),
    ],
)
def test_what_no_worker_says_is_refused_at_its_header(header: tuple[int, ...]) -> None:
    """Before memory is taken for what would follow."""
    with pytest.raises(MessageError):
        read(ANSWER.pack(*header))


@given(st.binary(max_size=200))
def test_noise_gives_answers_or_the_one_error(data: bytes) -> None:
    with contextlib.suppress(MessageError):
        read(data)


def test_the_largest_picture_that_does_not_compress_is_taken() -> None:
    size = (3 * 7680 + 1) * 4320
    reader = AnswerReader()
    reader.space[:] = ANSWER.pack(0, PICTURE, 7680, 4320, size + size // 1000)
    assert reader.add(ANSWER.size) is None
    assert len(reader.space) == size + size // 1000


def test_a_text_is_one_line_without_control_characters() -> None:
    answer = Answer(0, UNDECODABLE, 0, 0, b"torn\n\x1b[31mred\xff")
    assert answer.text == "torn??[31mred\ufffd"


@pytest.mark.parametrize(
    ("data", "image_format", "is_file"),
    [
        (b"\x89PNG\r\n\x1a\n...", ImageFormat.PNG, True),
        (b"\xff\xd8\xff\xe0...", ImageFormat.JPG, True),
        (b"\xff\xd8\xff\xe0...", ImageFormat.PNG, False),
        (b"<script>", ImageFormat.JPG, False),
        (b"", ImageFormat.PNG, False),
    ],
)
def test_a_file_is_told_by_its_first_bytes(
    data: bytes, image_format: ImageFormat, is_file: bool
) -> None:
    assert Answer(0, PICTURE, 1, 1, data).is_file(image_format) == is_file
