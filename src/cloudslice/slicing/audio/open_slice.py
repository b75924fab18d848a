"""The slice that a track's packets go into now."""

from collections import Counter
from collections.abc import Sequence

from cloudslice.codecs.opus import is_stereo
from cloudslice.events import GapReason
from cloudslice.media.tracks import Levels
from cloudslice.slices import Details
from cloudslice.slicing.audio.loudness import Loudness
from cloudslice.slicing.audio.ogg import OggOpusWriter
from cloudslice.slicing.audio.slice_comments import COMMENTS_BYTES, slice_comments
from cloudslice.slicing.slice_store import GrowingSlice

_CAUSES = {
    GapReason.MISSING: "missing-samples",
    GapReason.NOT_SENT: "not-sent-samples",
    GapReason.STOOD_STILL: "stood-still-samples",
}


class OpenSlice:
    """An Ogg file that grows.

    Attributes:
        start: media position of the first audible sample.
        end: the position at which it ends, unless packets stop before.
        silence_samples: how much of it is silence that stands for missing packets.
        concealed_samples: how much of it decoders are asked to conceal.
    """

    __slots__ = (
        "_filled",
        "_growing",
        "_loudness",
        "_packets_lost",
        "_writer",
        "add",
        "concealed_samples",
        "end",
        "flush",
        "silence_samples",
        "start",
    )

    def __init__(
        self,
        growing: GrowingSlice,
        start_ms: int,
        *,
        start: int,
        end: int,
        pre_skip: int,
        pre_roll: Sequence[tuple[bytes, int]],
        details: Details,
    ) -> None:
        """Args:
        growing: its file, empty.
        start_ms: the UTC of its first audible sample, as far as is known.
        start: see above.
        end: see above.
        pre_skip: samples of the pre-roll that are not heard.
        pre_roll: packets from before `start`, and that straddle it, each with its samples.
        details: what is known of it now, for a file that a kill cuts off.
        """
        self.start = start
        self.end = end
        self.silence_samples = 0
        self.concealed_samples = 0
        self._packets_lost = 0
        self._loudness = Loudness()
        self._filled = Counter[GapReason]()
        """Samples of both, by their cause."""
        self._growing = growing
        self._writer = OggOpusWriter(
            growing.append,
            serial=start_ms,
            pre_skip=pre_skip,
            stereo=any(is_stereo(packet) for packet, _ in pre_roll),
            comments=slice_comments(start_ms, {"first-sample": start, **details}),
            comments_bytes=COMMENTS_BYTES,
        )
        self.add = self._writer.add
        """Put packets of equal duration at its end: their bytes, the size and samples of each."""
        self.flush = self._writer.flush
        """Have all packets but the last written."""
        for packet, samples in pre_roll:
            self.add(packet, (len(packet),), samples)

    def note_run(self, levels: Levels | None, samples: int, *, lost: int) -> None:
        """A run of packets of `samples` each goes into it, or at least its beginning: what is known
        of all of it counts here. Before it `lost` packets never came."""
        self._packets_lost += lost
        if levels is not None:
            self._loudness.add(levels, samples)

    def note_filled(self, samples: int, reason: GapReason, *, is_concealed: bool) -> None:
        """`samples` of it stand for packets that did not come."""
        self._filled[reason] += samples
        if is_concealed:
            self.concealed_samples += samples
        else:
            self.silence_samples += samples

    def finish(self, end: int, start_ms: int, duration_ms: int, details: Details) -> None:
        """End it at a media position; from now on its times are fixed."""
        samples = end - self.start
        own = {
            "first-sample": self.start,
            "samples": samples,
            "silence-samples": self.silence_samples,
            "concealed-samples": self.concealed_samples,
            "packets-lost": self._packets_lost,
        }
        causes = {_CAUSES[reason]: count for reason, count in self._filled.items() if count}
        told: Details = {**own, **details, **self._loudness.details(), **causes}
        self._writer.finish(samples)
        head = self._writer.head(slice_comments(start_ms, {"duration-ms": duration_ms, **told}))
        self._growing.finish(start_ms, duration_ms, told, head=head)
