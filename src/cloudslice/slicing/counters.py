"""What a robot has made and what it had to leave out, for metrics and for the record."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class SlicingCounters:
    """One task's counts since its start; only ever counted up, on the event loop."""

    audio_slices: int = 0
    gaps_filled: int = 0
    """Stretches without packets (loss, DTX, mute) that were made silence."""
    silence_samples: int = 0
    """The silence written for them, in samples of 48 kHz."""
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

    def add(self, other: "SlicingCounters") -> None:
        """Count what `other` has counted, too."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
