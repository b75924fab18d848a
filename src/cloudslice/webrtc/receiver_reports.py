"""What a receiver tells the peer: reports, the bitrate that it wants, and feedback (RFC 3550, RFC
4585)."""

import secrets
from collections.abc import Callable, Collection
from math import inf

from cloudslice.webrtc import rtcp
from cloudslice.webrtc.receiver import Receiver
from cloudslice.webrtc.video_receiver import VideoReceiver

_INTERVAL_S = 1.0
_AUDIO_INTERVAL_S = 5.0
"""RFC 3550's least (6.2): audio's bitrate hangs on no report."""
# The first estimate counts most: Chromium jumps to it at once in its first two seconds, later it
# only climbs by some percent a second.
_FIRST_INTERVAL_S = 0.1
_FIRST_REPORTS = 20
_MAX_BLOCKS = 31
"""Of a packet: the count of a receiver report has five bits. With a REMB of 31 videos a packet is
shorter than 1200 bytes, which any network carries."""


class ReceiverReports:
    """Makes the RTCP packets of one peer connection.

    Args:
        max_video_bitrate_kbps: the ceiling that the sender is told, for each video.
    """

    def __init__(self, max_video_bitrate_kbps: int) -> None:
        self._max_video_bitrate_bps = max_video_bitrate_kbps * 1000
        self._ssrc = secrets.randbits(32)
        self._description = rtcp.source_description(self._ssrc, secrets.token_hex(8))
        self.due = -inf
        """Monotonic second of the next report."""
        self._made = 0

    def report(self, receivers: Collection[Receiver], now: float) -> list[bytes]:
        """Compound packets on all that comes, if they are due at monotonic second `now`."""
        if now < self.due:
            return []
        blocks = [block for each in receivers if (block := each.report_block(now)) is not None]
        if not blocks:
            return []
        videos = [each for each in receivers if isinstance(each, VideoReceiver)]
        ssrcs = [each.ssrc for each in videos if each.ssrc is not None]
        self._made += 1
        interval = _INTERVAL_S if ssrcs else _AUDIO_INTERVAL_S
        self.due = now + (_FIRST_INTERVAL_S if self._made < _FIRST_REPORTS else interval)
        packets = [
            rtcp.receiver_report(self._ssrc, blocks[start : start + _MAX_BLOCKS])
            + self._description
            for start in range(0, len(blocks), _MAX_BLOCKS)
        ]
        if ssrcs:
            factor = sum(each.bitrate_factor for each in videos if each.ssrc is not None)
            bitrate_bps = int(self._max_video_bitrate_bps * factor)
            packets[0] += rtcp.remb(self._ssrc, bitrate_bps, ssrcs)
        return packets

    def feedback(self, make: Callable[[int], bytes], block: rtcp.ReportBlock | None) -> bytes:
        """A compound packet with what `make` gives for our SSRC: a NACK or a PLI.

        A full compound packet, as not every peer takes reduced-size RTCP (RFC 5506). It begins with
        a report on the stream that the feedback is about: by the first SSRC in a packet Janus finds
        the media section that all of it is for.
        """
        blocks = () if block is None else (block,)
        return rtcp.receiver_report(self._ssrc, blocks) + self._description + make(self._ssrc)
