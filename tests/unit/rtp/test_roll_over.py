"""SRTP's roll-over counter is right whenever somebody reads a stream (RFC 3711, 3.3.1)."""

import pytest

from cloudslice.codecs.vp8 import Vp8Depacketizer
from cloudslice.media.tracks import Keyframe, TrackKind, VideoCodec
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.native import PeerStruct
from cloudslice.rtp.reception import Reception
from cloudslice.rtp.socket_filter import THINNED_TO
from cloudslice.rtp.srtp import PROFILES, SrtpContext, SrtpProfile
from cloudslice.rtp.video import VideoReceiver
from helpers.encoded_video import decode_keyframe, encoded_frames, picture_number
from helpers.listening import VIDEO_SSRC, Listener, audio, video
from helpers.meeting import Meeting
from helpers.peer import SSRCS
from helpers.rtp import RecordingSink, refill, rtp_packet, take_in

AUDIO, VIDEO = TrackKind.AUDIO, TrackKind.VIDEO
INFINITELY_LATE = float("inf")
VP8 = 96


def secured_pair(profile: SrtpProfile = PROFILES[0]) -> tuple[SrtpContext, SrtpContext]:
    """A client's and a server's context."""
    material = bytes(range(2 * (profile.key_length + profile.salt_length)))
    return (
        SrtpContext(profile.split(material, is_server=False)),
        SrtpContext(profile.split(material, is_server=True)),
    )


class UnreadVideo:
    """An anchor's video of which nobody has wanted a picture so far, encrypted by libsrtp."""

    def __init__(self, *, start: int) -> None:
        self._client, self._server = secured_pair()
        self.receiver = VideoReceiver(
            {VP8: (VideoCodec.VP8, Vp8Depacketizer())},
            can_nack=True,
            orientation_id=None,
            monotonic=lambda: 0.0,
            wake=lambda _at: None,
        )
        self.receiver.adopt(VIDEO_SSRC)
        self.peer = PeerStruct()
        self._server.open_packets_of(self.peer)
        self.peer.listen_to([self.receiver.stream])
        self._batch = Batch(1)
        self._sequence = start

    def send(self, payload: bytes = b"\x00\x00", *, number: int = 0, marker: bool = False) -> bytes:
        """The next packet, encrypted; it does not arrive yet."""
        packet = rtp_packet(
            self._sequence,
            number * 3000,
            payload,
            payload_type=VP8,
            ssrc=VIDEO_SSRC,
            marker=marker,
        )
        self._sequence += 1
        return self._client.protect(packet)

    def receive(self, datagram: bytes) -> None:
        refill(self._batch, [(datagram, 0.0)])
        others = list(
            take_in(self._batch, self.peer, lambda _track, media: self.receiver.receive(media))
        )
        assert others == []

    def pass_by(self, count: int, *, one_in: int = 1) -> None:
        """So many packets of no key frame, of which the kernel lets one in so many through."""
        for _ in range(count):
            datagram = self.send()
            if int.from_bytes(datagram[2:4]) % one_in == 0:
                self.receive(datagram)

    def picture(self) -> int:
        """The number of the picture that comes when one is wanted now."""
        granted: list[Keyframe] = []
        self.receiver.thinned_until = -INFINITELY_LATE
        self.receiver.request_keyframe(granted.append, 0)
        for number, frame in enumerate(encoded_frames(VideoCodec.VP8)[3:6], 3):
            for index, payload in enumerate(frame.payloads):
                is_last = index == len(frame.payloads) - 1
                self.receive(self.send(payload, number=number, marker=is_last))
        (keyframe,) = granted
        return picture_number(decode_keyframe(VideoCodec.VP8, keyframe.data))


@pytest.mark.parametrize("count", [10_000, 70_000, 150_000])
@pytest.mark.parametrize("one_in", [1, THINNED_TO], ids=["all come", "thinned out"])
def test_video_is_readable_however_long_nobody_read_it(count: int, one_in: int) -> None:
    """Most of it is dropped by the kernel then, and nearly all of the rest unread."""
    video = UnreadVideo(start=60_000)
    video.pass_by(1)
    video.receiver.thinned_until = INFINITELY_LATE if one_in > 1 else -INFINITELY_LATE
    video.pass_by(count, one_in=one_in)
    assert video.receiver.unread > 0.99 * count / one_in
    assert video.picture() == 4
    assert video.peer.not_authentic == 0


def test_headers_that_a_stranger_writes_move_nothing() -> None:
    """They are in the clear, so anybody can send some with the anchor's address and SSRC."""
    video = UnreadVideo(start=0)
    video.pass_by(1)
    for _ in range(40):
        video.pass_by(2000, one_in=THINNED_TO)
        for step in (0x2000, 0x7000, 0x7FFF, 0xB000, 0xF000):
            highest = video.receiver.stream.highest
            forged = rtp_packet(highest + step, 0, bytes(40), payload_type=VP8, ssrc=VIDEO_SSRC)
            video.receive(forged)
            assert video.receiver.stream.highest - video.receiver.stream.authentic <= 4096
    assert video.receiver.stream.highest == pytest.approx(80_000, abs=THINNED_TO)
    assert video.picture() == 4


def test_forged_headers_cannot_hold_off_the_reading_that_keeps_count() -> None:
    """Not even those that are near enough to be believed."""
    video = UnreadVideo(start=0)
    video.pass_by(1)
    for _ in range(400):
        video.pass_by(400)
        ahead = video.receiver.stream.highest + 3900
        video.receive(rtp_packet(ahead, 0, bytes(40), payload_type=VP8, ssrc=VIDEO_SSRC))
    assert video.picture() == 4


@pytest.mark.parametrize("profile", PROFILES, ids=lambda each: each.dtls_name.decode())
@pytest.mark.parametrize("lost", [30_000, 40_000, 65_000, 65_536, 66_000, 150_000, 250_000])
def test_media_is_read_after_any_outage(profile: SrtpProfile, lost: int) -> None:
    """Where libsrtp's guess is wrong, the next values of the counter are tried."""
    for make, kind in ((audio, "audio"), (video, "video")):
        client, server = secured_pair(profile)
        listener = Listener(server)
        for sequence in range(20_000, 20_010):
            listener.hear(client.protect(make(sequence)))
        after = 20_010 + lost
        for sequence in range(20_010, after, 10_000):
            client.protect(make(sequence))  # so that the sender's own counter follows
        heard = [
            payload
            for sequence in range(after, after + 40)
            for payload in listener.hear(client.protect(make(sequence))).payloads
        ]
        assert len(heard) >= 24, f"{kind}: the first packets may be refused"
        assert heard[-1] == make(after + 39)[12:]
        assert getattr(listener, kind).highest == after + 39


def test_a_duplicate_is_no_reason_to_try_other_values() -> None:
    """It is refused as such."""
    client, server = secured_pair()
    listener = Listener(server)
    packet = client.protect(audio(1))
    listener.hear(packet, *[packet] * 100)
    assert (listener.peer.repeated, listener.peer.not_authentic) == (100, 0)
    assert len(listener.hear(client.protect(audio(2))).payloads) == 1


@pytest.mark.parametrize("kind", [AUDIO, VIDEO])
@pytest.mark.parametrize("lost", [6, 100, 30_000])
def test_a_stream_that_loses_all_before_its_first_roll_over_is_read(
    kind: TrackKind, lost: int
) -> None:
    """Its sender has counted a roll-over by then."""
    meeting = Meeting().connect()
    sent = [meeting.peer.rtp(kind, 65_530 + index, 0, b"%d" % index) for index in range(lost + 3)]
    sink = RecordingSink()
    meeting.audio.add_sink(sink)
    meeting.deliver(*sent[lost:])
    receiver = meeting.session.receivers[kind]
    assert receiver.ssrc == SSRCS[kind]
    assert receiver.stream.authentic == (65_530 + lost + 2) % 0x10000
    if kind is AUDIO:
        assert sink.payloads == [b"%d" % index for index in range(lost, lost + 3)]
    assert meeting.session.not_authentic == 0


def test_a_forged_first_packet_decides_nothing() -> None:
    """Whether it looks like one from before or after a roll-over."""
    meeting = Meeting().connect()
    for sequence in (5, 65_535):
        meeting.deliver(rtp_packet(sequence, 0, bytes(40), ssrc=SSRCS[AUDIO]))
    assert meeting.session.not_authentic == 2
    sink = RecordingSink()
    meeting.audio.add_sink(sink)
    meeting.deliver(meeting.peer.rtp(AUDIO, 7, 0, b"x"))
    assert sink.payloads == [b"x"]


def test_a_new_ssrc_has_a_count_of_its_own() -> None:
    """What was decrypted of the one before says nothing about it."""
    reception = Reception(1, 90_000)
    reception.stream.authentic, reception.stream.refused = 70_000, 3
    reception.restart(1)
    assert (reception.stream.authentic, reception.stream.refused) == (-1, 0)
