"""The slice that a track's packets go into now."""

from collections.abc import Sequence
from datetime import UTC, datetime

from cloudslice.codecs.opus import is_stereo
from cloudslice.slicing.audio.ogg import OggOpusWriter
from cloudslice.slicing.slice_store import GrowingSlice


class OpenSlice:
    """An Ogg file that grows.

    Attributes:
        start: media position of the first audible sample.
        end: the position at which it ends, unless packets stop before.
        silence_samples: how much of it is silence that stands for missing packets.
        concealed_samples: how much of it decoders are asked to conceal.
    """

    __slots__ = (
        "_growing",
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
    ) -> None:
        """Args:
        growing: its file, empty.
        start_ms: the UTC of its first audible sample, as far as is known.
        start: see above.
        end: see above.
        pre_skip: samples of the pre-roll that are not heard.
        pre_roll: packets from before `start`, and that straddle it, each with its samples.
        """
        self.start = start
        self.end = end
        self.silence_samples = 0
        self.concealed_samples = 0
        self._growing = growing
        self._writer = OggOpusWriter(
            growing.append,
            serial=start_ms,
            pre_skip=pre_skip,
            stereo=any(is_stereo(packet) for packet, _ in pre_roll),
            comments=_comments(start_ms),
        )
        self.add = self._writer.add
        """Put packets of equal duration at its end: their bytes, the size and samples of each."""
        self.flush = self._writer.flush
        """Have all packets but the last written."""
        for packet, samples in pre_roll:
            self.add(packet, (len(packet),), samples)

    def note_filled(self, samples: int, *, is_concealed: bool) -> None:
        """`samples` of it stand for missing packets."""
        if is_concealed:
            self.concealed_samples += samples
        else:
            self.silence_samples += samples

    def finish(self, end: int, start_ms: int, duration_ms: int, details: dict[str, str]) -> None:
        """End it at a media position; from now on its times are fixed."""
        samples = end - self.start
        own = {
            "first-sample": str(self.start),
            "samples": str(samples),
            "silence-samples": str(self.silence_samples),
            "concealed-samples": str(self.concealed_samples),
        }
        self._writer.finish(samples)
        head = self._writer.head(_comments(start_ms))
        self._growing.finish(start_ms, duration_ms, {**own, **details}, head=head)


def _comments(start_ms: int) -> tuple[str]:
    start = datetime.fromtimestamp(start_ms / 1000, UTC)
    return (f"DATE={start.isoformat(timespec='milliseconds')}",)
