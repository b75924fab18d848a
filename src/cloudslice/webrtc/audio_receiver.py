"""Receives an anchor's Opus: hands the runs that the native library makes to sinks."""

from collections import Counter
from collections.abc import Collection

from cloudslice.media.tracks import AudioSink, OpusRun
from cloudslice.webrtc.receiver import Receiver, ReceiverHooks
from cloudslice.webrtc.rtcp import SenderReport

OPUS_CLOCK_RATE = 48_000
PATIENCE_S = 0.7
"""How long later packets wait for a missing one: until it is noticed on a tick, asked for over a
round trip of 200 ms, twice, and read on another tick."""
PATIENCE_WITHOUT_NACK_S = 0.25
"""...where it cannot be asked for: as long as a network may reorder packets."""
NACK_ATTEMPTS = 3


def extend_timestamp(timestamp: int, reference: int) -> int:
    """The extended timestamp nearest to the extended `reference`, of which `timestamp` is the low
    32 bits."""
    return reference + ((timestamp - reference + (1 << 31)) & ((1 << 32) - 1)) - (1 << 31)


class AudioReceiver(Receiver):
    """An AudioTrack.

    Args:
        payload_types: those negotiated for Opus; packets of others are counted and dropped.
        can_nack: whether the sender negotiated retransmission.
        hooks: of our connection.
        level_id: the negotiated id of the header extension that tells levels (RFC 6464).
    """

    def __init__(
        self,
        payload_types: Collection[int],
        *,
        can_nack: bool,
        hooks: ReceiverHooks,
        level_id: int | None = None,
    ) -> None:
        super().__init__(OPUS_CLOCK_RATE, NACK_ATTEMPTS if can_nack else 0, hooks)
        self.payload_types = frozenset(payload_types)
        self.patience_s = PATIENCE_S if can_nack else PATIENCE_WITHOUT_NACK_S
        self.level_id = level_id or 0
        self._sinks: tuple[AudioSink, ...] = ()
        self._has_begun = False

    def add_sink(self, sink: AudioSink) -> None:
        self._sinks = (*self._sinks, sink)

    def remove_sink(self, sink: AudioSink) -> None:
        self._sinks = tuple(each for each in self._sinks if each is not sink)

    def on_run(self, run: OpusRun) -> None:
        """The next packets of our SSRC."""
        self._has_begun = True
        for sink in self._sinks:
            try:
                sink.on_opus(run)
            except Exception as error:
                self.faults.caught(error)

    def on_sender_report(self, report: SenderReport, arrival: float) -> None:
        super().on_sender_report(report, arrival)
        reference = None if self._stream is None else self._stream.timestamp
        if reference is None or report.utc_ms is None:
            return
        timestamp = extend_timestamp(report.timestamp, reference)
        for sink in self._sinks:
            try:
                sink.on_sender_time(timestamp, report.utc_ms)
            except Exception as error:
                self.faults.caught(error)

    @property
    def counts(self) -> Counter[str]:
        counts = super().counts
        names = {"late": "audio_late", "lost": "audio_lost", "foreign": "audio_foreign"}
        return Counter(
            {name: counts[each] for each, name in names.items()}
            | {"sink_errors": counts["sink_errors"]}
        )

    def _began(self) -> None:
        if not self._has_begun:
            return
        for sink in self._sinks:
            try:
                sink.on_restart()
            except Exception as error:
                self.faults.caught(error)

    def _ended(self) -> None:
        """Nothing: what had come was handed out before."""
