"""Image work is bounded, shared, and never in the way of packets."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from cloudslice.rooms.base import Keyframe, VideoCodec
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures import pool as picture_pool
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.decoding import UndecodableKeyframeError
from cloudslice.slicing.pictures.picture_files import Picture
from cloudslice.slicing.pictures.pool import PicturePool
from helpers.keyframes import color_bars, encode_keyframe
from helpers.waiting import eventually

PNG, JPG = ImageFormat.PNG, ImageFormat.JPG
Result = Picture | UndecodableKeyframeError


class Encoder:
    """Stands in for the image work: does it when it is let, and says who came."""

    def __init__(self) -> None:
        self.may_go = threading.Event()
        self.calls: list[tuple[Keyframe, ImageFormat]] = []
        self.converters: list[ColorConverter] = []

    def __call__(
        self, keyframe: Keyframe, image_format: ImageFormat, converter: ColorConverter
    ) -> Picture:
        self.calls.append((keyframe, image_format))
        self.converters.append(converter)
        assert self.may_go.wait(5)
        return Picture(keyframe.data, 1, 1)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Encoder]:
    encoder = Encoder()
    monkeypatch.setattr(picture_pool, "encode_picture", encoder)
    yield encoder
    encoder.may_go.set()


def keyframe(data: bytes = b"") -> Keyframe:
    return Keyframe(VideoCodec.VP8, data, 0.0, 0)


def collector(count: int) -> tuple[Callable[[Result], None], asyncio.Future[list[Result]]]:
    """A receiver, and a future with all results once `count` have come."""
    results: list[Result] = []
    done: asyncio.Future[list[Result]] = asyncio.get_running_loop().create_future()

    def receive(result: Result) -> None:
        results.append(result)
        if len(results) == count:
            done.set_result(results)

    return receive, done


async def test_settling_waits_for_what_is_in_the_making(encoder: Encoder) -> None:
    """Also when several threads and receivers are at it; an idle pool is settled at once."""
    received: list[Result] = []
    with PicturePool(2) as pool:
        await pool.settle()
        for number in range(3):
            assert pool.encode(keyframe(bytes([number])), PNG, received.append)
        settling = asyncio.ensure_future(pool.settle())
        await asyncio.sleep(0)
        assert not settling.done()
        encoder.may_go.set()
        await settling
        assert len(received) == 3


async def test_a_key_frame_becomes_a_picture() -> None:
    receive, done = collector(1)
    with PicturePool() as pool:
        assert pool.encode(encode_keyframe(VideoCodec.VP8, color_bars(96, 32)), PNG, receive)
        [picture] = await done
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == (96, 32)


async def test_a_damaged_key_frame_is_reported_as_such() -> None:
    receive, done = collector(1)
    with PicturePool() as pool:
        assert pool.encode(keyframe(b"junk"), PNG, receive)
        [error] = await done
    assert isinstance(error, UndecodableKeyframeError)


async def test_robots_with_one_key_frame_share_one_encoding(encoder: Encoder) -> None:
    """In the same format; an equal key frame of another anchor is not the same."""
    receive, done = collector(4)
    shared = keyframe()
    with PicturePool() as pool:
        for each, image_format in ((shared, PNG), (shared, PNG), (shared, JPG), (keyframe(), PNG)):
            assert pool.encode(each, image_format, receive)
        encoder.may_go.set()
        assert len(await done) == 4
    assert len(encoder.calls) == 3


async def test_a_full_pool_refuses_work_and_takes_it_again_later(encoder: Encoder) -> None:
    receive, done = collector(3)
    with PicturePool(1, max_waiting=2) as pool:
        frames = [keyframe(bytes([index])) for index in range(4)]
        assert [pool.encode(frame, PNG, receive) for frame in frames] == [True, True, True, False]
        assert pool.encode(frames[2], PNG, lambda _: None), "sharing costs nothing"
        encoder.may_go.set()
        results = await done
        again, done = collector(1)
        assert pool.encode(frames[3], PNG, again)
        results += await done
    assert [result.data for result in results if isinstance(result, Picture)] == [
        frame.data for frame in frames
    ]


async def test_work_left_on_leaving_is_dropped(encoder: Encoder) -> None:
    results: list[Result] = []
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    with PicturePool(1, max_waiting=5) as pool:
        for index in range(4):
            assert pool.encode(keyframe(bytes([index])), PNG, results.append)
        await eventually(lambda: encoder.calls)
        threading.Timer(0.05, encoder.may_go.set).start()
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(encoder.calls) == 1
    assert (len(results), faults) == (1, [])


async def test_pictures_in_the_making_have_a_converter_each(encoder: Encoder) -> None:
    """It serves one at a time, and the next one after it."""
    receive, done = collector(15)
    with PicturePool(2) as pool:
        for number in range(15):
            assert pool.encode(keyframe(bytes([number])), PNG, receive)
        await eventually(lambda: len(encoder.converters) == 2)
        encoder.may_go.set()
        await done
    first, second, *others = encoder.converters
    assert first is not second
    assert {id(each) for each in others} <= {id(first), id(second)}


async def test_a_fault_in_the_work_is_no_end_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the libraries throw costs one picture, and is logged with its traceback."""

    def break_down(*_: object) -> Picture:
        raise MemoryError("no room")

    monkeypatch.setattr(picture_pool, "encode_picture", break_down)
    receive, done = collector(2)
    with PicturePool() as pool:
        assert pool.encode(keyframe(), PNG, receive)
        assert pool.encode(keyframe(), PNG, receive)
        results = await done
    assert [str(result) for result in results] == ["no room", "no room"]
    assert "picture failed unexpectedly" in capsys.readouterr().out
