"""Reports come often at first and then seldom, and say what came."""

from itertools import pairwise
from typing import cast

import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRrPacket, RtcpSdesPacket, unpack_remb_fci

from cloudslice.codecs.vp8 import Vp8Depacketizer
from cloudslice.media.tracks import VideoCodec
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.reporter import Reporter
from cloudslice.rtp.video import VideoReceiver
from helpers.rtp import feed, rtp_packet


def audio() -> AudioReceiver:
    receiver = AudioReceiver(frozenset({111}), can_nack=True, monotonic=lambda: 0.0)
    receiver.adopt(1)
    return receiver


def video(ssrc: int) -> VideoReceiver:
    receiver = VideoReceiver(
        {96: (VideoCodec.VP8, Vp8Depacketizer())},
        can_nack=True,
        orientation_id=None,
        monotonic=lambda: 0,
        wake=lambda at: None,
    )
    receiver.adopt(ssrc)
    return receiver


def test_nothing_is_reported_before_the_first_packet() -> None:
    """And then at once."""
    reporter, receiver = Reporter(1000), audio()
    assert reporter.report([receiver], 0) is None
    feed(receiver, rtp_packet(1, 2, ssrc=1), 0.05)
    packet = reporter.report([receiver], 0.1)
    assert packet is not None
    rr, sdes = RtcpPacket.parse(packet)
    assert isinstance(rr, RtcpRrPacket)
    assert [each.ssrc for each in rr.reports] == [1]
    assert isinstance(sdes, RtcpSdesPacket)


@pytest.mark.parametrize(
    ("receiver", "interval_s"),
    [pytest.param(video(1), 1, id="video"), pytest.param(audio(), 5, id="audio alone")],
)
def test_reports_are_eager_for_two_seconds(receiver: Receiver, interval_s: float) -> None:
    """Every 0.1 s, later as often as their media needs."""
    reporter = Reporter(1000)
    feed(receiver, rtp_packet(1, 2, ssrc=1), 0)
    times = [index / 20 for index in range(400) if reporter.report([receiver], index / 20)]
    assert len([each for each in times if each < 2]) >= 17
    later = times[20:]
    assert [round(b - a, 6) for a, b in pairwise(later)] == [interval_s] * (len(later) - 1)
    assert len(later) >= 3


def test_each_video_may_send_the_ceiling() -> None:
    """REMB is one sum for all SSRCs that it names."""
    reporter = Reporter(1000)
    receivers = [audio(), video(2), video(3)]
    for ssrc, receiver in enumerate(receivers, start=1):
        feed(receiver, rtp_packet(1, 2, ssrc=ssrc), 0)
    packet = reporter.report(receivers, 0)
    assert packet is not None
    remb = RtcpPacket.parse(packet)[-1]
    assert isinstance(remb, RtcpPsfbPacket)
    bitrate, ssrcs = unpack_remb_fci(remb.fci)
    assert (round(bitrate, -4), ssrcs) == (2_000_000, [2, 3])


def test_feedback_is_a_full_compound_packet() -> None:
    """RFC 3550, 6.1: RR and SDES come first, for peers without reduced-size RTCP."""
    reporter, receiver = Reporter(1000), video(2)
    assert reporter.feedback(receiver, 0) is None
    feed(receiver, rtp_packet(1, 2, payload_type=96, ssrc=2), 0)
    receiver.request_keyframe(lambda _keyframe: None, 0)
    packet = reporter.feedback(receiver, 0)
    assert packet is not None
    rr, sdes, pli = RtcpPacket.parse(packet)
    assert isinstance(rr, RtcpRrPacket)
    assert isinstance(sdes, RtcpSdesPacket)
    assert cast(RtcpPsfbPacket, pli).media_ssrc == 2
