"""Opening what LiveKit's clients encrypt; tests against the clients themselves are in
tests/integration/livekit/test_livekit_e2ee.py."""

import os

import pytest

from cloudslice.codecs.h264 import H264
from cloudslice.codecs.vp8 import VP8
from cloudslice.codecs.vp9 import VP9
from cloudslice.media.tracks import OpusRun
from cloudslice.rooms.livekit.frame_decryption import FrameKey, TrackDecryption
from helpers.sealed import seal

_PASSPHRASE = "correct horse"
_KEY = FrameKey(_PASSPHRASE)
_TRAILER = b"made by the server"
_PACKETS = [b"\xf8" + os.urandom(size) for size in (0, 1, 80, 500, 3)]
_SEALED = [seal(_PASSPHRASE, packet, 1) for packet in _PACKETS]
_H264_FRAME = b"\0\0\0\1\x67\x42\xc0\x0a\0\0\0\1\x68\xce\x0f\xc8\0\0\0\1\x65\x88" + os.urandom(5000)


class Decryption(TrackDecryption):
    """That of a track, and what it has told."""

    def __init__(self, key: FrameKey = _KEY) -> None:
        self.failures = 0
        self.told: list[bool] = []
        super().__init__(key, lambda: _TRAILER, self._count_failure, self.told.append)

    def open_packet(self, packet: bytes) -> list[bytes]:
        run = OpusRun.of_one(packet, 0, 0.0)
        return [each for opened in self.open_run(run) for each in opened.packets()]

    def _count_failure(self) -> None:
        self.failures += 1


def run_of(packets: list[bytes]) -> OpusRun:
    """Of 20 ms each, which came every 25 ms."""
    sizes = tuple(map(len, packets))
    last_arrival = 100 + 0.025 * (len(packets) - 1)
    return OpusRun(b"".join(packets), sizes, 48_000, 100.0, last_arrival, 99.99)


def test_a_run_is_opened_as_it_is() -> None:
    [opened] = Decryption().open_run(run_of(_SEALED))
    assert opened == run_of(_PACKETS)


def test_what_cannot_be_opened_is_a_gap() -> None:
    damaged = _SEALED[1][:-20] + bytes([_SEALED[1][-20] ^ 1]) + _SEALED[1][-19:]
    decryption = Decryption()
    first, second = decryption.open_run(run_of([_SEALED[0], damaged, *_SEALED[2:]]))
    assert first == run_of(_PACKETS[:1])
    assert list(second.packets()) == _PACKETS[2:]
    assert second.timestamp == 48_000 + 2 * 960
    assert second.arrival == pytest.approx(100.05)
    assert second.last_arrival == pytest.approx(100.1)
    assert second.earliest == pytest.approx(99.99 + 0.04)
    assert decryption.told == []


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(b"\xf8", id="too short"),
        pytest.param(_SEALED[0][:-1], id="cut off"),
        pytest.param(_PACKETS[3], id="not encrypted"),
        pytest.param(_SEALED[2][:-2] + b"\x10\0", id="IV of another length"),
        pytest.param(b"\x78" + _SEALED[2][1:], id="another first byte"),
        pytest.param(seal("another", _PACKETS[2], 1), id="another key"),
    ],
)
def test_nothing_comes_of_what_is_not_authentic(packet: bytes) -> None:
    assert Decryption().open_packet(packet) == []


def test_the_key_index_does_not_matter() -> None:
    assert Decryption().open_packet(_SEALED[3][:-1] + b"\x07") == [_PACKETS[3]]


def test_another_key_is_told_once_and_its_end_as_well() -> None:
    """After as many failures in a row as livekit-client tolerates."""
    decryption, wrong = Decryption(), seal("another", _PACKETS[2], 1)
    for _ in range(9):
        decryption.open_packet(wrong)
    decryption.open_packet(_SEALED[0])
    for _ in range(9):
        decryption.open_packet(wrong)
    assert decryption.told == []
    for _ in range(30):
        decryption.open_packet(wrong)
    assert decryption.told == [False]
    decryption.open_packet(_SEALED[0])
    decryption.open_packet(_SEALED[0])
    assert decryption.told == [False, True]
    assert decryption.failures == 48


def test_what_the_server_makes_is_left_out_and_is_no_failure() -> None:
    decryption = Decryption()
    for _ in range(30):
        assert decryption.open_packet(b"\xf8\xff\xfe" + bytes(77) + _TRAILER) == []
    assert decryption.told == []
    assert decryption.failures == 0


def test_a_vp8_key_frame() -> None:
    frame = os.urandom(3000)
    sealed = seal(_PASSPHRASE, frame, 10)
    assert Decryption().open_keyframe(VP8.decoding, sealed) == frame


@pytest.mark.parametrize("iv", [bytes(12), b"\xff" * 12], ids=["escaped", "not escaped"])
def test_an_h264_access_unit(iv: bytes) -> None:
    readable = _H264_FRAME.index(b"\x65\x88") + 2
    sealed = seal(_PASSPHRASE, _H264_FRAME, readable, iv=iv, escapes=True)
    assert (b"\0\0\3" in sealed[-20:]) is (iv == bytes(12))
    assert Decryption().open_keyframe(H264.decoding, sealed) == _H264_FRAME


def test_an_h264_access_unit_without_a_slice() -> None:
    assert Decryption().open_keyframe(H264.decoding, _H264_FRAME[:16]) is None


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param(b"\xfe\xf7" + bytes(8) + b"\xf0LKTS", id="time"),
        pytest.param(b"\xfd\xfbabcd\xf4LKTS", id="number"),
    ],
)
def test_metadata_behind_a_frame_are_left_out(metadata: bytes) -> None:
    readable = _H264_FRAME.index(b"\x65\x88") + 2
    sealed = seal(_PASSPHRASE, _H264_FRAME, readable, escapes=True)
    assert Decryption().open_keyframe(H264.decoding, sealed + metadata) == _H264_FRAME


@pytest.mark.parametrize("frame", [b"LKTS", b"\xffLKTS", b"\x00LKTS"])
def test_metadata_that_make_no_sense(frame: bytes) -> None:
    assert Decryption().open_keyframe(VP8.decoding, frame) is None


def test_a_vp9_key_frame() -> None:
    """Nothing of it is readable."""
    frame = os.urandom(3000)
    sealed = seal(_PASSPHRASE, frame, 0)
    assert Decryption().open_keyframe(VP9.decoding, sealed) == frame


def test_another_codec() -> None:
    """libwebrtc's clients encrypt no AV1."""
    decoding = VP8.decoding._replace(decoder="libdav1d")
    assert Decryption().open_keyframe(decoding, _SEALED[3]) is None
