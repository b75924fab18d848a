"""Reports come often at first and then seldom, and say what came."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import cast

import pytest
from aiortc.rtp import RtcpPacket, RtcpPsfbPacket, RtcpRrPacket, RtcpSdesPacket, unpack_remb_fci

from cloudslice.webrtc.audio_receiver import AudioReceiver
from cloudslice.webrtc.native import Report, StreamState
from cloudslice.webrtc.native.native_port import NativeStream
from cloudslice.webrtc.receiver import Receiver, ReceiverHooks
from cloudslice.webrtc.receiver_reports import ReceiverReports
from cloudslice.webrtc.rtcp import SenderReport, picture_loss
from cloudslice.webrtc.video_receiver import VideoReceiver

HOOKS = ReceiverHooks(lambda make, block: None, lambda at: None, lambda: 0.0)


@dataclass
class ManualStream:
    """A NativeStream whose report the test sets."""

    ssrc: int
    has_come: bool = True
    state: StreamState = field(default_factory=StreamState)
    timestamp: int | None = None

    def report(self) -> Report | None:
        return Report(highest=7, packets_lost=1, fraction_lost=51) if self.has_come else None

    def read(self, *, is_read: bool) -> None: ...


def adopt(receiver: Receiver, ssrc: int) -> ManualStream:
    stream = ManualStream(ssrc)
    receiver.adopt(cast(NativeStream, stream))
    return stream


def audio(ssrc: int = 1) -> AudioReceiver:
    receiver = AudioReceiver({111}, can_nack=True, hooks=HOOKS)
    adopt(receiver, ssrc)
    return receiver


def video(ssrc: int) -> VideoReceiver:
    receiver = VideoReceiver(
        {}, can_nack=True, orientation_id=None, color_space_id=None, hooks=HOOKS
    )
    adopt(receiver, ssrc)
    return receiver


def test_nothing_is_reported_before_the_first_packet() -> None:
    """And then at once."""
    reports, receiver = ReceiverReports(1000), audio()
    stream = adopt(receiver, 1)
    stream.has_come = False
    assert reports.report([receiver], 0) == []
    stream.has_come = True
    (packet,) = reports.report([receiver], 0.1)
    rr, sdes = RtcpPacket.parse(packet)
    assert isinstance(rr, RtcpRrPacket)
    (block,) = rr.reports
    assert (block.ssrc, block.fraction_lost, block.highest_sequence) == (1, 51, 7)
    assert isinstance(sdes, RtcpSdesPacket)


def test_a_receiver_without_an_ssrc_has_nothing_to_report() -> None:
    receiver = AudioReceiver({111}, can_nack=True, hooks=HOOKS)
    assert ReceiverReports(1000).report([receiver], 0) == []
    assert receiver.last_arrival == -inf


@pytest.mark.parametrize(
    ("receiver", "interval_s"),
    [pytest.param(video(1), 1, id="video"), pytest.param(audio(), 5, id="audio alone")],
)
def test_reports_are_eager_for_two_seconds(receiver: Receiver, interval_s: float) -> None:
    """Every 0.1 s, later as often as their media needs."""
    reports = ReceiverReports(1000)
    times = [index / 20 for index in range(400) if reports.report([receiver], index / 20)]
    assert len([each for each in times if each < 2]) >= 17
    later = times[20:]
    assert [round(b - a, 6) for a, b in pairwise(later)] == [interval_s] * (len(later) - 1)
    assert len(later) >= 3


def test_each_video_may_send_the_ceiling() -> None:
    """REMB is one sum for all SSRCs that it names."""
    (packet,) = ReceiverReports(1000).report([audio(), video(2), video(3)], 0)
    remb = RtcpPacket.parse(packet)[-1]
    assert isinstance(remb, RtcpPsfbPacket)
    bitrate, ssrcs = unpack_remb_fci(remb.fci)
    assert (round(bitrate, -4), ssrcs) == (2_000_000, [2, 3])


def test_more_than_31_streams_are_reported_in_several_packets() -> None:
    """Each is short enough for any network: the count of a receiver report has five bits."""
    packets = ReceiverReports(1000).report([video(ssrc) for ssrc in range(1, 71)], 0)
    assert max(map(len, packets)) < 1200
    found = [cast(RtcpRrPacket, RtcpPacket.parse(each)[0]) for each in packets]
    assert [len(each.reports) for each in found] == [31, 31, 8]
    assert [block.ssrc for each in found for block in each.reports] == list(range(1, 71))


def test_a_report_tells_how_long_ago_the_last_sender_report_came() -> None:
    """RFC 3550, 6.4.1: LSR and DLSR; of the SSRC that is received now."""
    reports, receiver = ReceiverReports(1000), audio()
    receiver.on_sender_report(SenderReport(1, 0, None, 0xABCD), 10.0)
    (packet,) = reports.report([receiver], 11.5)
    rr = cast(RtcpRrPacket, RtcpPacket.parse(packet)[0])
    assert (rr.reports[0].lsr, rr.reports[0].dlsr) == (0xABCD, 98304)
    adopt(receiver, 2)
    (packet,) = reports.report([receiver], 20)
    rr = cast(RtcpRrPacket, RtcpPacket.parse(packet)[0])
    assert (rr.reports[0].lsr, rr.reports[0].dlsr) == (0, 0)


def test_feedback_begins_with_a_report_on_the_stream_that_it_is_about() -> None:
    """Janus takes the first SSRC of a compound packet for that of all its parts."""
    block = audio().report_block(1.0)
    packet = ReceiverReports(1000).feedback(lambda ssrc: picture_loss(ssrc, 1), block)
    rr, _, pli = RtcpPacket.parse(packet)
    assert [each.ssrc for each in cast(RtcpRrPacket, rr).reports] == [1]
    assert cast(RtcpPsfbPacket, pli).media_ssrc == 1


def test_feedback_is_a_full_compound_packet() -> None:
    """RFC 3550, 6.1: RR and SDES come first, for peers without reduced-size RTCP."""
    packet = ReceiverReports(1000).feedback(lambda ssrc: picture_loss(ssrc, 2), None)
    rr, sdes, pli = RtcpPacket.parse(packet)
    assert isinstance(rr, RtcpRrPacket)
    assert isinstance(sdes, RtcpSdesPacket)
    assert isinstance(pli, RtcpPsfbPacket)
    assert (pli.ssrc, pli.media_ssrc) == (rr.ssrc, 2)
