"""Video goes unread until a key frame is wanted; then it is asked for until it is intact."""

import random
from collections.abc import Iterator

import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, unpack_remb_fci

from cloudslice.codecs.av1 import AV1, Av1Depacketizer
from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264, H264Depacketizer
from cloudslice.codecs.h265 import H265, H265Depacketizer
from cloudslice.codecs.vp8 import VP8, Vp8Depacketizer
from cloudslice.codecs.vp9 import VP9, Vp9Depacketizer
from cloudslice.media.tracks import Colors, Keyframe, NoKeyframeReason
from cloudslice.webrtc.receiver import ReceiverHooks
from cloudslice.webrtc.receiver_reports import ReceiverReports
from cloudslice.webrtc.video_receiver import VideoReceiver
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.h264_streams import packetise, x264_stream
from helpers.received_media import TICK_S, ReceivedMedia
from helpers.rtp import one_byte_extension, rtp_packet, two_byte_extension
from helpers.video_codecs import each_codec

H264_TYPE, VP8_TYPE, VP9_TYPE, AV1_TYPE, H265_TYPE = 102, 96, 100, 45, 49
TYPES = {H264: H264_TYPE, VP8: VP8_TYPE, VP9: VP9_TYPE, AV1: AV1_TYPE, H265: H265_TYPE}
ORIENTATION, COLOR_SPACE = 4, 8
SSRC, OTHER_SSRC = 0x1234, 0x5678


class Video(ReceivedMedia):
    """A VideoReceiver, and a sender of an encoder's frames, 30 a second."""

    def __init__(
        self, codec: VideoCodec = VP8, *, can_nack: bool = True, start: int = 65500
    ) -> None:
        self.codec = codec
        self.can_nack = can_nack
        self.sequence = start
        self.ssrc = SSRC
        self.taken: list[Keyframe] = []
        super().__init__(self._make)
        self.adopt(SSRC)
        assert isinstance(self.receiver, VideoReceiver)
        self.video = self.receiver

    def _make(self, hooks: ReceiverHooks) -> VideoReceiver:
        return VideoReceiver(
            {
                VP8_TYPE: (VP8.decoding, Vp8Depacketizer),
                H264_TYPE: (H264.decoding, H264Depacketizer),
                VP9_TYPE: (VP9.decoding, Vp9Depacketizer),
                AV1_TYPE: (AV1.decoding, Av1Depacketizer),
                H265_TYPE: (H265.decoding, H265Depacketizer),
            },
            can_nack=self.can_nack,
            orientation_id=ORIENTATION,
            color_space_id=COLOR_SPACE,
            hooks=hooks,
        )

    def want(self, due: float = 0.0, *, max_age_s: float = 0.0) -> None:
        self.video.request_keyframe(self.taken.append, due, max_age_s=max_age_s)

    def packet(
        self,
        timestamp: int,
        payload: bytes,
        *,
        marker: bool = False,
        payload_type: int = 0,
        extension: bytes = b"",
    ) -> bytes:
        """The next one, protected."""
        packet = rtp_packet(
            self.sequence,
            timestamp,
            payload,
            marker=marker,
            payload_type=payload_type or TYPES[self.codec],
            ssrc=self.ssrc,
            extension=extension,
        )
        self.sequence += 1
        return self.receiving.protect(packet)

    def packets(self, number: int, *, extension: bytes = b"") -> list[bytes]:
        """The packets of the encoder's frame of this number."""
        payloads = encoded_frames(self.codec)[number].payloads
        last = len(payloads) - 1
        return [
            self.packet(
                number * 3000,
                payload,
                marker=index == last,
                extension=extension if index == last else b"",
            )
            for index, payload in enumerate(payloads)
        ]

    def send(
        self, number: int, *, lost: tuple[int, ...] = (), extension: bytes = b""
    ) -> list[bytes]:
        """Send a frame but for the packets of these indices, which are returned."""
        kept = []
        for index, packet in enumerate(self.packets(number, extension=extension)):
            if index in lost:
                kept.append(packet)
            else:
                self.put(packet)
        self.process()
        return kept

    def numbers(self) -> list[int]:
        """Those that the pictures of the key frames show which came."""
        return [picture_number(decode_keyframe(each.decoding, each.data)) for each in self.taken]


@pytest.fixture
def make() -> Iterator[type[Video]]:
    made: list[Video] = []

    class Made(Video):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[arg-type]
            made.append(self)

    yield Made
    for each in made:
        each.close()


@each_codec
def test_a_wanted_key_frame_comes_and_decodes(make: type[Video], codec: VideoCodec) -> None:
    """The first intact one after the request; the frames after it go unread again."""
    video = make(codec)
    for number in range(3):
        video.send(number)
    video.clock.now = 2.0
    video.want(due=5.0)
    for number in range(3, 12):
        video.clock.now += 0.03
        video.send(number)
    [keyframe] = video.taken
    assert keyframe.decoding is codec.decoding
    assert keyframe.arrival == pytest.approx(2.06)
    assert video.numbers() == [4]
    assert video.receiver.counts["keyframes"] == 1
    assert video.receiver.counts["video_unread"] > 0
    assert video.receiver.next_deadline == float("inf")


@each_codec
def test_what_is_encrypted_from_end_to_end_is_opened(make: type[Video], codec: VideoCodec) -> None:
    """Also when that becomes known while the stream goes on."""
    media = make(codec)
    media.want()
    media.send(1)
    media.video.open_frames_by(lambda _decoding, frame: None)
    for number in range(4, 7):
        media.send(number)
    assert media.taken == []
    media.video.open_frames_by(
        lambda decoding, frame: frame if decoding == codec.decoding else None
    )
    for number in range(8, 11):
        media.send(number)
    assert media.numbers() == [8]


def test_unwanted_video_goes_unread(make: type[Video]) -> None:
    video = make()
    for index in range(20_000):
        video.put(video.packet(0, b"\x10\x01"))
        video.clock.now += 0.001
        if index % 80 == 0:
            video.process()
    assert video.receiver.counts["video_unread"] == pytest.approx(20_000, abs=100)


def test_h264_is_read_until_its_parameter_sets_are_known(make: type[Video]) -> None:
    """Some senders send them once, at the start."""
    video = make(H264)
    video.send(1)
    assert video.receiver.counts["video_unread"] == 0
    video.send(4)
    video.send(5)
    assert video.receiver.counts["video_unread"] >= len(encoded_frames(H264)[5].payloads)


def test_a_request_is_sent_when_the_key_frame_is_due(make: type[Video]) -> None:
    """Earlier, one may come on its own; later it is repeated, ever more rarely."""
    video = make()
    video.want(due=1.0)
    video.run(5.0, lambda _now: video.send(1) and None)
    assert video.plis == pytest.approx([1.0, 1.5, 2.5, 4.5], abs=0.25)
    assert video.receiver.counts["keyframe_requests"] == len(video.plis)


def test_a_request_wakes_the_connection_when_it_is_due(make: type[Video]) -> None:
    video = make()
    video.want(due=5.0)
    assert video.deadline == 5.0
    video.want(due=3.0)
    assert video.deadline == 3.0


def test_open_requests_share_one_key_frame(make: type[Video]) -> None:
    """Of two robots, for example. The earliest due time counts."""
    video = make()
    video.send(1)
    video.want(due=5.0)
    video.want(due=1.0)
    video.run(1.1)
    assert video.plis == pytest.approx([1.0], abs=0.09)
    video.send(0)
    video.send(1)
    first, second = video.taken
    assert first is second
    video.run(8.0)
    assert len(video.plis) == 1


def test_a_still_screen_is_asked_though_it_sends_nothing(make: type[Video]) -> None:
    """And once for each picture, if it answers."""
    video = make()
    video.send(1)
    frames = iter((0, 4, 8))

    def answer(now: float) -> None:
        if video.plis and now - video.plis[-1] == pytest.approx(TICK_S, abs=0.01):
            video.send(next(frames))
            video.put(video.packet(1 << 20, b"\x11\x01"))  # repeats its last frame

    for picture in range(3):
        video.run(picture * 5.0 + 5.0)
        assert not video.video.flowing
        video.want(due=video.clock.now)
        video.run(video.clock.now + 1.0, answer)
    assert len(video.plis) == 3
    assert video.numbers() == [0, 4, 8]


def test_a_muted_camera_is_asked_rarely_and_at_once_when_it_is_back(make: type[Video]) -> None:
    video = make()
    video.send(1)
    video.want(due=3.0)
    video.run(120.0)
    assert not video.video.flowing
    assert 3 <= len(video.plis) <= 10
    assert video.video.no_keyframe_reason is NoKeyframeReason.SILENT
    asked = len(video.plis)
    while video.clock.now - video.plis[-1] < 5:
        video.run(video.clock.now + TICK_S)
    asked = len(video.plis)
    video.send(2)
    video.tick()
    assert len(video.plis) == asked + 1
    assert video.video.flowing


def test_video_flows_for_two_seconds_after_a_packet(make: type[Video]) -> None:
    """Chromium repeats the picture of a still screen once a second."""
    video = make()
    assert not video.video.flowing
    video.send(1)
    video.clock.now += 1.2
    assert video.video.flowing
    video.clock.now += 1.0
    assert not video.video.flowing


def test_a_sender_is_asked_as_soon_as_a_key_frame_is_due(make: type[Video]) -> None:
    """And not a tick later, when the connection is asked what else is due."""
    video = make()
    video.send(1)
    video.clock.now = 2.0
    video.want(due=2.0)
    assert video.plis == [2.0]


def test_a_cancelled_request_is_not_fulfilled(make: type[Video]) -> None:
    """And nothing is asked for it; cancelling again is harmless."""
    video = make()
    video.send(1)
    request = video.video.request_keyframe(video.taken.append, 0.5)
    other = video.video.request_keyframe(video.taken.append, 0.5)
    request.cancel()
    request.cancel()
    other.cancel()
    video.run(1.0)
    assert video.plis == []
    video.send(0)
    video.send(1)
    assert video.taken == []


def test_losses_of_a_key_frame_are_asked_for_again_and_repaired(make: type[Video]) -> None:
    """Only while one is wanted."""
    video = make()
    video.send(3, lost=(0,))
    video.want(due=100.0)
    lost = video.send(4, lost=(1, 3))
    video.send(5)
    video.run(0.17)
    assert set(video.nacked) == {(65500 + n) & 0xFFFF for n in _indices(video, 3, 4, (1, 3))}
    video.put(*lost)
    video.process()
    assert video.numbers() == [4]
    assert video.plis == []


def _indices(video: Video, before: int, frame: int, lost: tuple[int, ...]) -> list[int]:
    sent = len(encoded_frames(video.codec)[before].payloads)
    return [sent + each for each in lost]


@pytest.mark.parametrize("can_nack", [True, False], ids=["retransmission", ""])
def test_a_key_frame_beyond_repair_is_asked_for_again_soon(
    make: type[Video], can_nack: bool
) -> None:
    """When its packets are missing for good; until then it may still be repaired."""
    video = make(can_nack=can_nack)
    video.send(1)
    video.want(due=0.0)
    video.tick()
    assert video.plis == [0.0]
    video.clock.now = TICK_S
    video.send(0, lost=(1,))
    video.send(1)
    video.run(1.2 if can_nack else 0.45)
    assert video.plis[1:] == pytest.approx([1.0 if can_nack else 0.32], abs=0.11)
    assert video.receiver.counts["keyframes_damaged"] == 1
    assert bool(video.nacked) is can_nack
    assert video.video.no_keyframe_reason is NoKeyframeReason.LOST


def test_a_request_in_the_callback_waits_for_the_next_key_frame(make: type[Video]) -> None:
    """And does not get the same one."""
    video = make()

    def again(keyframe: Keyframe) -> None:
        video.taken.append(keyframe)
        video.want()

    video.video.request_keyframe(again, 0)
    for number in range(12):
        video.send(number)
    assert video.numbers() == [0, 4]


def test_a_broken_receiver_disturbs_no_other(
    make: type[Video], capsys: pytest.CaptureFixture[str]
) -> None:
    """The others get their key frame; the error is counted and logged."""
    video = make()

    def broken(_keyframe: Keyframe) -> None:
        raise RuntimeError("a bug in slicing")

    video.video.request_keyframe(broken, 0)
    video.want()
    video.send(0)
    video.send(1)
    assert len(video.taken) == 1
    assert video.receiver.counts["sink_errors"] == 1
    assert "a bug in slicing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("element", "rotation"),
    [(b"\x00", 0), (b"\x01", 90), (b"\x02", 180), (b"\x03", 270), (b"\x09", 90)],
)
def test_rotation_comes_with_the_key_frame(
    make: type[Video], element: bytes, rotation: int
) -> None:
    """3GPP TS 26.114, 7.4.5; other bits say which camera, and flip."""
    video = make()
    video.want()
    video.send(0, extension=one_byte_extension((ORIENTATION, element)))
    video.send(1, extension=one_byte_extension((ORIENTATION, b"\x02")))
    assert video.taken[0].rotation == rotation


def test_a_header_extension_without_orientation_turns_nothing(make: type[Video]) -> None:
    video = make()
    video.want()
    video.send(0, extension=one_byte_extension((ORIENTATION + 1, b"\x02")))
    video.send(1)
    assert video.taken[0].rotation == 0


@each_codec
@pytest.mark.parametrize(
    ("element", "colors"),
    [
        pytest.param(b"\x01\x01\x01\x10", Colors(1, False), id="BT.709, limited range"),
        pytest.param(b"\x01\x01\x06\x25", Colors(6, True), id="BT.601, full range"),
        pytest.param(b"\x01\x01\x01\x20" + bytes(24), Colors(1, True), id="with HDR metadata"),
        pytest.param(b"\x01\x01\x02\x10", None, id="matrix not known"),
        pytest.param(b"\x01\x0d\x00\x20", None, id="RGB"),
        pytest.param(b"\x01\x01\x01\x30", None, id="range not said"),
        pytest.param(b"\x01\x01\x01", None, id="cut off"),
    ],
)
def test_the_sender_may_say_what_colours_are(
    make: type[Video], codec: VideoCodec, element: bytes, colors: Colors | None
) -> None:
    """It holds for that frame, whatever the bitstream says, and for no other one."""
    video = make(codec)
    for number in (0, 4):
        video.want()
        said = (COLOR_SPACE, element) if number == 0 else (COLOR_SPACE + 1, b"x")
        video.send(number, extension=two_byte_extension(said))
        video.send(number + 1)
    told, silent = (each.decoding for each in video.taken)
    assert told == (codec.decoding.of_colors(colors) if colors else codec.decoding)
    assert silent == codec.decoding


def test_a_new_ssrc_completes_nothing_of_the_old_one(make: type[Video]) -> None:
    """And is asked for a key frame at once."""
    video = make()
    video.send(1)
    video.want()
    video.tick()
    assert video.plis == [0.0]
    video.put(*video.packets(0)[:3])
    video.clock.now = TICK_S
    video.adopt(OTHER_SSRC)
    video.ssrc, video.sequence = OTHER_SSRC, 40
    video.put(*video.packets(0)[3:])
    video.send(1)
    assert video.taken == []
    video.tick()
    assert video.plis == [0.0, TICK_S]
    assert video.receiver.counts["keyframe_requests"] == 2
    video.send(4)
    video.send(5)
    assert video.numbers() == [4]


def test_nothing_is_asked_of_no_sender(make: type[Video]) -> None:
    """Its SSRC is gone, or did not come yet."""
    video = make()
    stream = video.receiver.release()
    assert stream is not None
    stream.close()
    video.want()
    video.run(1.0)
    assert video.plis == []
    assert not video.video.flowing
    assert video.receiver.next_deadline == float("inf")
    assert video.receiver.counts["video_unread"] == 0


def test_packets_that_are_no_video_keep_their_place(make: type[Video]) -> None:
    """Forward error correction, for example: it may stand between packets of a frame."""
    video = make()
    video.want()
    video.put(video.packet(1, b"\x01\x02", payload_type=98))
    for payload in encoded_frames(VP8)[0].payloads:
        video.put(video.packet(0, payload), video.packet(0, b"\x01\x02", payload_type=98))
    video.send(1)
    assert video.numbers() == [0]


def test_a_sender_may_change_its_codec(make: type[Video]) -> None:
    video = make(H264)
    for codec in (H264, VP8):
        video.codec = codec
        video.want()
        video.send(0)
        video.send(1)
        video.clock.now += 1
    assert [each.decoding for each in video.taken] == [H264.decoding, VP8.decoding]


# --- senders that do not answer ---


class Camera:
    """Sends the encoder's frames, 12.5 a second, a key frame each so many seconds."""

    def __init__(self, video: Video, *, key_interval_s: float, loss: float = 0.0) -> None:
        self.video = video
        self._frames = round(key_interval_s / TICK_S)
        self._sent = 0
        self._loss = loss
        self._dice = random.Random(3)

    def __call__(self, _now: float) -> None:
        number = 4 if self._sent % self._frames == 0 else 1
        payloads = encoded_frames(self.video.codec)[number].payloads
        for index, payload in enumerate(payloads):
            marker = index == len(payloads) - 1
            packet = self.video.packet(3000 * self._sent, payload, marker=marker)
            if self._dice.random() >= self._loss:
                self.video.put(packet)
        self._sent += 1


def test_key_frames_that_come_by_themselves_make_the_pictures(
    make: type[Video], capsys: pytest.CaptureFixture[str]
) -> None:
    """A key frame each 8 s, a picture each 10 s: each picture has one, and few requests are sent.
    That the sender does not answer is told once."""
    video = make()
    camera = Camera(video, key_interval_s=8.0)
    video.run(1.0, camera)
    taken = []
    for _picture in range(12):
        due = video.clock.now
        video.want(due=due, max_age_s=10.0)
        video.run(due + 10.0, camera)
        taken.append(len(video.taken))
    assert taken == list(range(1, 13))
    assert len(video.plis) <= 6
    assert video.video.no_keyframe_reason is NoKeyframeReason.NO_ANSWER
    assert capsys.readouterr().out.count("does not answer requests for key frames") == 1
    assert video.receiver.counts["senders_not_answering"] == 1


def test_the_last_key_frame_is_kept_with_its_true_age(make: type[Video]) -> None:
    video = make()
    camera = Camera(video, key_interval_s=8.0)
    video.run(1.0, camera)
    video.want(due=1.0)
    video.run(12.0, camera)  # it came at 8.0
    assert [each.arrival for each in video.taken] == pytest.approx([8.0], abs=0.01)
    video.want(due=12.0, max_age_s=5.0)
    first, kept = video.taken
    assert kept is first
    video.want(due=14.0, max_age_s=5.0)
    assert len(video.taken) == 2
    video.run(16.2, camera)
    assert video.taken[2].arrival == pytest.approx(16.0, abs=0.01)


def test_a_sender_that_answers_has_nothing_kept(make: type[Video]) -> None:
    video = make()
    video.send(1)
    video.want()
    video.tick()
    video.send(0)
    video.send(1)
    video.want(due=0.1, max_age_s=5.0)
    assert len(video.taken) == 1


def test_what_nobody_wants_is_not_told(make: type[Video]) -> None:
    """A key frame that is damaged while the stream is learnt."""
    video = make(H264, can_nack=False)
    video.put(*video.packets(0)[1:5])
    video.sequence += 1
    video.put(video.packet(9000, b"\x41\x9a\x00"))
    video.run(1.0)
    assert video.receiver.counts["keyframes_damaged"] == 0
    assert video.video.no_keyframe_reason is None


def test_intra_refresh_is_told_from_loss(
    make: type[Video], capsys: pytest.CaptureFixture[str]
) -> None:
    video = make(H264)
    stream = x264_stream("keyint=8:intra-refresh=1:bframes=0", frames=200)
    frames = iter(range(200))
    sent = packetise(stream)

    def camera(_now: float) -> None:
        number = next(frames)
        for each in sent:
            if each.frame == number:
                packet = video.packet(each.timestamp, each.payload, marker=each.ends_frame)
                video.put(packet)

    video.run(0.3, camera)
    video.want(due=0.5)
    video.run(15.0, camera)
    assert video.taken == []
    assert video.video.no_keyframe_reason is NoKeyframeReason.INTRA_REFRESH
    assert len(video.plis) <= 6
    assert capsys.readouterr().out.count("intra refresh") == 1
    counts = video.receiver.counts
    assert counts["senders_with_intra_refresh"] == 1
    assert counts["keyframes_damaged"] == counts["senders_not_answering"] == 0


# --- networks ---


class AnsweringCamera:
    """Sends small frames, and a key frame of so many packets when it is asked, after a round trip.

    At most one each 300 ms, as Chromium's encoder.
    """

    def __init__(
        self, video: Video, *, round_trip_s: float, key_packets: int = 100, loss: float = 0.0
    ) -> None:
        self.video = video
        self.keyframes = 0
        self.packets = 0
        self._round_trip_s = round_trip_s
        self._key_packets = key_packets
        self._loss = loss
        self._dice = random.Random(5)
        self._answered = 0
        self._last_key = -1.0
        self._timestamp = 0

    def __call__(self, now: float) -> None:
        asked = [each for each in self.video.plis if each + self._round_trip_s <= now]
        is_key = len(asked) > self._answered and now - self._last_key >= 0.3
        self._timestamp += 7200
        if is_key:
            self._answered = len(asked)
            self._last_key = now
            self.keyframes += 1
            self._send(b"\x10\x10\x02\x00\x9d\x01\x2a\x40\x01")
            for index in range(1, self._key_packets):
                self._send(b"\x00" + bytes(20), marker=index == self._key_packets - 1)
            self._timestamp += 100
        self._send(b"\x10\x11\x02\x00", marker=True)

    def _send(self, payload: bytes, *, marker: bool = False) -> None:
        packet = self.video.packet(self._timestamp, payload, marker=marker)
        self.packets += 1
        if self._dice.random() >= self._loss:
            self.video.put(packet)


def wanted_each(video: Video, camera: AnsweringCamera, interval_s: float, pictures: int) -> None:
    """A picture each so many seconds; a request that is not fulfilled is given up for the next."""
    for picture in range(pictures):
        due = 1.0 + picture * interval_s
        video.run(due, camera)
        request = video.video.request_keyframe(video.taken.append, due)
        video.run(due + interval_s - TICK_S, camera)
        request.cancel()


@pytest.mark.parametrize("round_trip_s", [0.05, 0.3, 0.5, 1.0])
def test_one_request_makes_one_picture_at_any_round_trip(
    make: type[Video], round_trip_s: float
) -> None:
    """But for the first one, when the time that an answer takes is not known."""
    video = make()
    camera = AnsweringCamera(video, round_trip_s=round_trip_s)
    wanted_each(video, camera, 5.0, 8)
    assert len(video.taken) == 8
    assert len(video.plis) <= 9
    assert camera.keyframes <= 9


def test_requests_do_not_multiply_the_traffic_that_they_are_lost_in(make: type[Video]) -> None:
    """No retransmission, 5 % loss, key frames of 100 packets: next to none comes through."""
    video = make(can_nack=False)
    camera = AnsweringCamera(video, round_trip_s=0.05, loss=0.05)
    wanted_each(video, camera, 5.0, 18)
    assert len(video.plis) <= 40
    assert video.receiver.counts["keyframes_damaged"] >= 10
    assert video.video.no_keyframe_reason in (NoKeyframeReason.LOST, None)
    assert video.video.bitrate_factor < 1.0
    assert not video.taken or len(video.taken) <= 3


def test_the_sender_is_told_a_lower_bitrate_while_key_frames_are_damaged(
    make: type[Video],
) -> None:
    """By REMB, in the reports on it."""
    video = make(can_nack=False)
    reports = ReceiverReports(2000)

    def told_bps() -> int:
        [report] = reports.report([video.receiver], video.clock.now)
        remb = next(
            each
            for each in RtcpPacket.parse(report)
            if isinstance(each, RtcpPsfbPacket) and each.fmt == 15
        )
        return int(unpack_remb_fci(remb.fci)[0])

    video.send(1)
    assert told_bps() == pytest.approx(2_000_000, rel=0.001)
    wanted_each(video, AnsweringCamera(video, round_trip_s=0.05, loss=0.3), 5.0, 2)
    assert told_bps() <= 500_000


def test_smaller_key_frames_come_through(make: type[Video]) -> None:
    """A sender that heeds the bitrate that it is told makes them."""
    video = make(can_nack=False)

    class Heeding(AnsweringCamera):
        def __call__(self, now: float) -> None:
            self._key_packets = max(2, round(100 * video.video.bitrate_factor**2))
            super().__call__(now)

    wanted_each(video, Heeding(video, round_trip_s=0.05, loss=0.05), 5.0, 18)
    assert len(video.taken) >= 9
    assert len(video.plis) <= 60


def test_with_retransmission_losses_cost_no_picture(make: type[Video]) -> None:
    video = make()
    camera = AnsweringCamera(video, round_trip_s=0.05, loss=0.05)
    protected: dict[int, bytes] = {}
    packet = video.packet

    def keep(timestamp: int, payload: bytes, **options: object) -> bytes:
        number = video.sequence & 0xFFFF
        protected[number] = packet(timestamp, payload, **options)  # type: ignore[arg-type]
        return protected[number]

    video.packet = keep  # type: ignore[method-assign, assignment]
    resent = [0]

    def with_repair(now: float) -> None:
        camera(now)
        for number in video.nacked[resent[0] :]:
            video.put(protected[number])
        resent[0] = len(video.nacked)

    for picture in range(8):
        due = 1.0 + picture * 5.0
        video.run(due, with_repair)
        video.want(due=due)
        video.run(due + 4.9, with_repair)
    assert len(video.taken) == 8
    assert len(video.plis) <= 10
