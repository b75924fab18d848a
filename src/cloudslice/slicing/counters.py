"""What robots have made and what they had to leave out, for metrics."""

from dataclasses import dataclass

from cloudslice.events import AudioGap, GapFilling, PictureNotTaken


@dataclass(slots=True)
class SlicingCounters:
    """A node's counts since its start; only ever counted up, on the event loop."""

    audio_slices: int = 0
    gaps_filled: int = 0
    """Stretches of up to 2 s without packets (loss, DTX, stalls) that were filled."""
    silence_samples: int = 0
    """The silence written for long ones, in samples of 48 kHz."""
    concealed_samples: int = 0
    """What decoders are asked to conceal in short ones, in samples of 48 kHz."""
    clock_stalled: int = 0
    """Pauses of a sender whose timestamps went on as if there had been none."""
    clock_slow: int = 0
    """Times that a sender's timestamps were behind real time by their rate."""
    clock_fast: int = 0
    """Times that they were ahead of it, or that more audio came than time passed."""
    clock_jumped: int = 0
    """Steps of a sender's timestamps."""
    clock_burst: int = 0
    """Tracks that began with audio that had waited at the sender."""
    packets_malformed: int = 0
    """Audio packets that are not Opus."""
    packets_ahead: int = 0
    """Audio packets of a sender that sends much faster than real time."""
    pictures: int = 0
    pictures_muted: int = 0
    """Pictures not taken because the anchor sent no video."""
    pictures_no_keyframe: int = 0
    """Pictures not taken because no intact key frame came, though video did."""
    pictures_pool_full: int = 0
    """Pictures not taken because image work could not keep up."""
    pictures_undecodable: int = 0
    """Pictures not taken because the key frame could not be decoded."""
    pictures_lost: int = 0
    """Pictures not taken because the process that made them died, or had died of the last one."""

    def note(self, event: AudioGap | PictureNotTaken) -> None:
        """Count what slicing has told."""
        if isinstance(event, PictureNotTaken):
            counter = f"pictures_{event.reason.value}"
            setattr(self, counter, getattr(self, counter) + 1)
        elif event.filling is GapFilling.CONCEALED:
            self.gaps_filled += 1
            self.concealed_samples += event.samples
        elif event.filling is GapFilling.SILENCE:
            self.gaps_filled += 1
            self.silence_samples += event.samples
