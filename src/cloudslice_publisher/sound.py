"""Synthetic sound: a tone that tells the anchor, beeps that tell the second, and speech."""

import io
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

SAMPLE_RATE = 48_000

Pcm = npt.NDArray[np.int16]
"""(samples,) int16, mono, 48 kHz."""

_TONE_PEAK = 0.1
_BEEP_PEAK = 0.3
_BEEP_S = 0.1
# Ramps of 5 ms: without them each beep would begin and end with a click at all frequencies.
_RAMP_S = 0.005


class SpeechUnavailableError(Exception):
    """espeak-ng is not installed, or failed."""


def tone(frequency_hz: int, seconds: int) -> Pcm:
    """A sine at -20 dBFS, and on every full second 100 ms an octave higher and 10 dB louder.

    Both are whole numbers, so that the end joins the start without a click.
    """
    second = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    ramp = np.clip(np.minimum(second, _BEEP_S - second) / _RAMP_S, 0, 1)
    wave = _TONE_PEAK * np.sin(2 * np.pi * frequency_hz * second)
    wave += _BEEP_PEAK * ramp * np.sin(4 * np.pi * frequency_hz * second)
    return np.tile((wave * 32767).astype(np.int16), seconds)


def speech(text: str) -> Pcm:
    """`text` read aloud by espeak-ng.

    Raises:
        SpeechUnavailableError: see there.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise SpeechUnavailableError("espeak-ng is not installed")
    run = subprocess.run(  # noqa: S603  (a fixed program; the text goes in by its standard input)
        [program, "--stdin", "--stdout"], input=text.encode(), capture_output=True, check=False
    )
    if run.returncode != 0 or not run.stdout:
        raise SpeechUnavailableError(f"espeak-ng failed: {run.stderr.decode(errors='replace')}")
    return read_pcm(io.BytesIO(run.stdout))


def read_pcm(source: Path | io.BytesIO, limit_s: float = float("inf")) -> Pcm:
    """The first audio stream of a media file, from its start to `limit_s` at most.

    Raises:
        av.FFmpegError: `source` cannot be read as a media file.
        IndexError: it has no audio stream.
    """
    chunks: list[Pcm] = []
    samples = 0
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    with av.open(source, "r") as container:
        for frame in container.decode(container.streams.audio[0]):
            for resampled in resampler.resample(frame):
                chunks.append(resampled.to_ndarray()[0])
                samples += resampled.samples
            if samples >= limit_s * SAMPLE_RATE:
                break
    chunks += [frame.to_ndarray()[0] for frame in resampler.resample(None)]
    pcm = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int16)
    return pcm[: int(min(limit_s * SAMPLE_RATE, pcm.size))]


def mix(*sounds: Pcm) -> Pcm:
    """The sum, as long as the first; what would overflow is clipped."""
    total = sounds[0].astype(np.int32)
    for sound in sounds[1:]:
        length = min(total.size, sound.size)
        total[:length] += sound[:length]
    return np.clip(total, -32768, 32767).astype(np.int16)
