"""Video goes unread until a key frame is wanted; then it is asked for until it is intact."""

from collections.abc import Iterator

import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRtpfbPacket
from cloudslice.rtp.video import VideoReceiver

from cloudslice.codecs.h264 import H264Depacketizer
from cloudslice.codecs.vp8 import Vp8Depacketizer
from cloudslice.media.tracks import Keyframe, VideoCodec
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.rtp import ClearSrtp, feed, forged, one_byte_extension, rtp_packet
from helpers.slice_store import ManualClock

H264, VP8 = 102, 96
ORIENTATION = 4


class Stream:
    """A receiver, and a sender of an encoder's frames, 30 a second."""

    def __init__(
        self, codec: VideoCodec = VideoCodec.VP8, *, can_nack: bool = True, start: int = 65500
    ) -> None:
        self.codec = codec
        self.clock = ManualClock()
        self.srtp = ClearSrtp()
        self.wakes: list[float] = []
        self.receiver = VideoReceiver(
            {
                VP8: (VideoCodec.VP8, Vp8Depacketizer()),
                H264: (VideoCodec.H264, H264Depacketizer()),
            },
            can_nack=can_nack,
            orientation_id=ORIENTATION,
            monotonic=self.clock.monotonic,
            wake=self.wakes.append,
        )
        self.receiver.adopt(0x1234)
        self.granted: list[Keyframe] = []
        self._sequence = start

    def want(self, due: float) -> None:
        self.receiver.request_keyframe(self.granted.append, due)

    def packets(self, number: int, *, extension: bytes = b"") -> Iterator[bytes]:
        """The packets of the encoder's frame of this number."""
        frame = encoded_frames(self.codec)[number]
        for index, payload in enumerate(frame.payloads):
            is_last = index == len(frame.payloads) - 1
            yield rtp_packet(
                self._sequence,
                number * 3000,
                payload,
                marker=is_last,
                payload_type=H264 if self.codec is VideoCodec.H264 else VP8,
                extension=extension if is_last else b"",
            )
            self._sequence += 1

    def send(
        self, number: int, *, lost: tuple[int, ...] = (), extension: bytes = b""
    ) -> list[bytes]:
        """Send a frame but for the packets of these indices, which are returned."""
        kept = []
        for index, packet in enumerate(self.packets(number, extension=extension)):
            if index in lost:
                kept.append(packet)
            else:
                feed(self.receiver, packet, self.clock.now)
        return kept

    def feedback(self) -> list[object]:
        return [
            part
            for each in self.receiver.feedback(7, self.clock.now)
            for part in RtcpPacket.parse(each)
        ]

    def is_asked_for_keyframe(self) -> bool:
        return any(isinstance(part, RtcpPsfbPacket) and part.fmt == 1 for part in self.feedback())

    def pli_times(self, until: float, *, flows: bool = True) -> list[float]:
        """When PLIs are sent, with a beat every 20 ms, in which a packet comes."""
        found = []
        while self.clock.now < until:
            if flows:
                self.receiver.last_arrival = self.clock.now
            if self.is_asked_for_keyframe():
                found.append(round(self.clock.now, 2))
            self.clock.now += 0.02
        return found


def _with_ssrc(packet: bytes, ssrc: int) -> bytes:
    return packet[:8] + ssrc.to_bytes(4) + packet[12:]


@pytest.mark.parametrize("codec", VideoCodec)
def test_a_wanted_key_frame_is_granted_and_decodes(codec: VideoCodec) -> None:
    """The first intact one after the wish; the frames after it go unread again."""
    stream = Stream(codec)
    for number in range(3):
        stream.send(number)
    stream.clock.now = 2.0
    stream.want(due=5.0)
    for number in range(3, 12):
        stream.clock.now += 0.03
        stream.send(number)
    (keyframe,) = stream.granted
    assert keyframe.codec is codec
    assert keyframe.arrival == pytest.approx(2.06)
    assert picture_number(decode_keyframe(codec, keyframe.data)) == 4
    assert stream.receiver.keyframes == 1
    assert stream.receiver.unread > 0
    assert stream.receiver.patience_s(3) is None


def test_unwanted_video_is_not_decrypted() -> None:
    """But for one packet now and then, by which SRTP keeps count of the 16-bit roll-over."""
    stream = Stream()
    for index in range(200_000):
        feed(stream.receiver, rtp_packet(index, 0, payload_type=VP8), 0, stream.srtp)
    assert stream.srtp.opened == pytest.approx(200_000 / 4096, abs=1)
    assert stream.receiver.unread == 200_000 - stream.srtp.opened


def test_h264_is_read_until_its_parameter_sets_are_known() -> None:
    """Some senders send them once, at the start."""
    stream = Stream(VideoCodec.H264)
    stream.send(1)
    assert stream.receiver.unread == 0
    stream.send(4)
    stream.send(5)
    assert stream.receiver.unread == len(encoded_frames(VideoCodec.H264)[5].payloads) + (
        len(encoded_frames(VideoCodec.H264)[4].payloads) - 1
    )


def test_pli_is_sent_at_the_due_time_and_repeated() -> None:
    """60 ms before it; earlier, a key frame may come on its own. Then every half second."""
    stream = Stream()
    stream.want(due=1.0)
    assert stream.pli_times(until=2.2) == pytest.approx([0.94, 1.44, 1.94], abs=0.021)
    assert stream.receiver.keyframe_requests == 3


def test_a_wish_wakes_whoever_sends_feedback_in_time_for_its_pli() -> None:
    stream = Stream()
    stream.want(due=5.0)
    stream.want(due=7.0)
    assert stream.wakes == [pytest.approx(4.94), pytest.approx(6.94)]


def test_open_requests_share_one_pli_and_one_key_frame() -> None:
    """The earliest due time counts."""
    stream = Stream()
    stream.want(due=5.0)
    stream.want(due=1.0)
    assert stream.pli_times(until=1.1) == pytest.approx([0.95], abs=0.021)
    stream.send(0)
    first, second = stream.granted
    assert first is second
    assert stream.pli_times(until=6) == []


def test_no_pli_while_no_video_flows() -> None:
    """A muted camera is not asked; when it is back, it is at once."""
    stream = Stream()
    stream.send(1)
    stream.want(due=3.0)
    assert stream.receiver.flowing
    assert stream.pli_times(until=4, flows=False) == []
    assert not stream.receiver.flowing
    assert stream.receiver.patience_s(4) is None
    stream.send(2)
    assert stream.is_asked_for_keyframe()


def test_a_still_screen_flows() -> None:
    """Chromium repeats its picture once a second."""
    stream = Stream()
    stream.send(1)
    stream.clock.now += 1.2
    assert stream.receiver.flowing


def test_a_cancelled_request_is_not_granted() -> None:
    """And nothing is asked for it; cancelling again is harmless."""
    stream = Stream()
    request = stream.receiver.request_keyframe(stream.granted.append, 0)
    request.cancel()
    request.cancel()
    assert stream.pli_times(until=1) == []
    stream.send(0)
    assert stream.granted == []


def test_losses_of_a_key_frame_are_nacked_and_repaired() -> None:
    """Only while one is wanted."""
    stream = Stream()
    stream.send(3, lost=(0,))
    stream.want(due=100.0)
    assert stream.feedback() == []
    lost = stream.send(4, lost=(1, 3))
    (packet,) = stream.feedback()
    assert isinstance(packet, RtcpRtpfbPacket)
    assert packet.lost == [int.from_bytes(each[2:4]) for each in lost]
    for each in lost:
        assert stream.granted == []
        feed(stream.receiver, each, stream.clock.now)
    (keyframe,) = stream.granted
    assert picture_number(decode_keyframe(VideoCodec.VP8, keyframe.data)) == 4


def test_a_key_frame_beyond_repair_is_asked_for_again_soon() -> None:
    """When the NACKs have run out, without waiting for the half second."""
    stream = Stream()
    stream.send(1)
    stream.want(due=0.0)
    assert stream.is_asked_for_keyframe()
    stream.clock.now = 0.02
    stream.send(0, lost=(1,))
    assert stream.pli_times(until=0.45) == pytest.approx([0.32], abs=0.03)


def test_without_nack_a_damaged_key_frame_is_asked_for_again_soon() -> None:
    """No packet is asked for, and a new frame as soon as the encoder can make one."""
    stream = Stream(can_nack=False)
    stream.send(1)
    stream.want(due=0.0)
    assert stream.is_asked_for_keyframe()
    stream.send(0, lost=(1,))
    assert not any(isinstance(part, RtcpRtpfbPacket) for part in stream.feedback())
    assert stream.pli_times(until=0.45) == pytest.approx([0.3], abs=0.021)


def test_a_wish_in_the_callback_waits_for_the_next_key_frame() -> None:
    """And does not get the same one."""
    stream = Stream()

    def again(keyframe: Keyframe) -> None:
        stream.granted.append(keyframe)
        stream.receiver.request_keyframe(stream.granted.append, 0)

    stream.receiver.request_keyframe(again, 0)
    for number in range(12):
        stream.send(number)
    assert [
        picture_number(decode_keyframe(VideoCodec.VP8, each.data)) for each in stream.granted
    ] == [0, 4]


def test_a_broken_receiver_disturbs_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """The others get their key frame; the error is counted and logged."""
    stream = Stream()

    def broken(_keyframe: Keyframe) -> None:
        raise RuntimeError("a bug in slicing")

    stream.receiver.request_keyframe(broken, 0)
    stream.want(due=0)
    stream.send(0)
    assert len(stream.granted) == 1
    assert stream.receiver.sink_errors == 1
    assert "a bug in slicing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("element", "rotation"),
    [(b"\x00", 0), (b"\x01", 90), (b"\x02", 180), (b"\x03", 270), (b"\x09", 90)],
)
def test_rotation_comes_with_the_key_frame(element: bytes, rotation: int) -> None:
    """3GPP TS 26.114, 7.4.5; other bits say which camera, and flip."""
    stream = Stream()
    stream.want(due=0)
    stream.send(0, extension=one_byte_extension((ORIENTATION, element)))
    assert stream.granted[0].rotation == rotation


def test_a_new_ssrc_completes_nothing_of_the_old_one() -> None:
    """And is asked for a key frame at once."""
    stream = Stream()
    stream.send(1)
    stream.want(due=0)
    assert stream.is_asked_for_keyframe()
    lost = stream.send(0, lost=(2,))
    stream.receiver.adopt(0x5678)
    feed(stream.receiver, _with_ssrc(lost[0], 0x5678), stream.clock.now)
    assert stream.granted == []
    stream.clock.now += 0.02
    assert stream.is_asked_for_keyframe()


def test_forged_packets_change_nothing() -> None:
    """They are refused; the frame that they were to spoil is granted."""
    stream = Stream()
    stream.want(due=0)
    packets = list(stream.packets(0))
    feed(stream.receiver, packets[0], 0)
    assert feed(stream.receiver, forged(packets[1]), 0).not_authentic == 1
    for each in packets[1:]:
        feed(stream.receiver, each, 0)
    assert len(stream.granted) == 1


def test_other_payload_types_are_not_video() -> None:
    """They are read, as they may stand between packets that are, and dropped."""
    stream = Stream()
    stream.want(due=0)
    feed(stream.receiver, rtp_packet(1, 2, b"\x10\x00", payload_type=98), 0)
    assert stream.granted == []
