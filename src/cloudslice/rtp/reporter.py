"""When a receiver reports, and what: RR, REMB, and the feedback that is due (RFC 3550, 4585)."""

import secrets
from collections.abc import Collection

from cloudslice.rtp import feedback
from cloudslice.rtp.receiver import Receiver
from cloudslice.rtp.video import VideoReceiver

_INTERVAL_S = 1.0
_AUDIO_INTERVAL_S = 5.0
"""RFC 3550's least (6.2): audio's bitrate hangs on no report."""
_EAGER_INTERVAL_S = 0.1
# The first estimate counts most: Chromium jumps to it at once in its first two seconds, later it
# only climbs by some percent a second.
_EAGER_REPORTS = 20


class Reporter:
    """Makes the RTCP packets of one session.

    Args:
        max_video_bitrate_kbps: the ceiling that the sender is told, for each video.
    """

    def __init__(self, max_video_bitrate_kbps: int) -> None:
        self._max_video_bitrate_bps = max_video_bitrate_kbps * 1000
        self._ssrc = secrets.randbits(32)
        self._description = feedback.source_description(self._ssrc, secrets.token_hex(8))
        self.due = float("-inf")
        """Monotonic second of the next report."""
        self._made = 0

    @property
    def is_eager(self) -> bool:
        """Whether the next reports are to come fast."""
        return self._made < _EAGER_REPORTS

    def report(self, receivers: Collection[Receiver], now: float) -> bytes | None:
        """The report on all that comes, if one is due at monotonic second `now`."""
        if now < self.due:
            return None
        blocks = [block for each in receivers if (block := each.report_block(now)) is not None]
        if not blocks:
            return None
        video = [
            each.ssrc
            for each in receivers
            if isinstance(each, VideoReceiver) and each.ssrc is not None
        ]
        self._made += 1
        interval = _INTERVAL_S if video else _AUDIO_INTERVAL_S
        self.due = now + (_EAGER_INTERVAL_S if self.is_eager else interval)
        packet = feedback.receiver_report(self._ssrc, blocks) + self._description
        if video:
            bitrate_bps = self._max_video_bitrate_bps * len(video)
            packet += feedback.remb(self._ssrc, bitrate_bps, video)
        return packet

    def feedback(self, receiver: Receiver, now: float) -> bytes | None:
        """The NACKs and PLIs of `receiver` that are due at monotonic second `now`, if any.

        A full compound packet, as not every peer takes reduced-size RTCP (RFC 5506).
        """
        parts = receiver.feedback(self._ssrc, now)
        if not parts:
            return None
        return feedback.receiver_report(self._ssrc, ()) + self._description + b"".join(parts)
