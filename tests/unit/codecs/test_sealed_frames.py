"""Key frames that are encrypted from end to end, from their packets to what a decoder takes."""

import pytest

from cloudslice.codecs.codec import Format, VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.codecs.sealed_frames import SealedDepacketizer
from cloudslice.codecs.vp8 import VP8
from cloudslice_publisher.packetizer import packetize
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.sealed import escaped


def toggled(frame: bytes, readable: int) -> bytes:
    """Something that is as unlike a frame as if it were encrypted, and the frame again of that."""
    return frame[:readable] + bytes(each ^ 0xA5 for each in frame[readable:])


@pytest.mark.parametrize("codec", [VP8, H264], ids=["VP8", "H264"])
def test_a_key_frame_is_opened_before_it_is_read(codec: VideoCodec) -> None:
    plain = codec.depacketizer(Format(96, codec.name, 90_000))
    frame = plain.join(encoded_frames(codec)[0].payloads)
    assert frame is not None
    readable = 10 if codec is VP8 else frame.index(b"\0\0\1\x65") + 5
    sealed = toggled(frame, readable)
    payloads = packetize(codec, sealed[:readable] + escaped(sealed[readable:]))
    assert len(payloads) > 1
    depacketizer = SealedDepacketizer(
        plain, lambda joined: toggled(joined[:readable] + unescaped(joined[readable:]), readable)
    )
    kinds = [depacketizer.take(payload, at) for at, payload in enumerate(payloads)]
    assert any(each.begins_keyframe for each in kinds)
    data = depacketizer.assemble(payloads, 0, is_first_known=True)
    assert data is not None
    assert picture_number(decode_keyframe(codec.decoding, data)) == 0


def unescaped(data: bytes) -> bytes:
    return data.replace(b"\0\0\3", b"\0\0")


def test_one_that_cannot_be_opened_does_not_come() -> None:
    payloads = encoded_frames(VP8)[0].payloads
    plain = VP8.depacketizer(Format(96, "VP8", 90_000))
    depacketizer = SealedDepacketizer(plain, lambda _frame: None)
    assert depacketizer.assemble(payloads, 0, is_first_known=True) is None
