"""Judges slices by decoding them."""

import io
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

# The upper half of the synthetic picture: 75 % colour bars, left to right.
BARS = (
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
)
BAR_TOLERANCE = 12
"""Levels of 255 that lossy coding at these bitrates may be off in the middle of a bar."""


@dataclass(frozen=True)
class Sound:
    """Decoded audio: mono samples at 48 kHz, and the loudest frequency in Hz."""

    samples: npt.NDArray[np.float32]
    pitch_hz: float

    @property
    def duration_s(self) -> float:
        return self.samples.size / 48000


def decode_audio(data: bytes) -> Sound:
    """Decode an audio slice."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = np.concatenate([np.atleast_2d(each).mean(axis=0) for each in frames])
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(samples.size)))
    return Sound(
        samples.astype(np.float32), float(np.argmax(spectrum)) * 48000 / max(samples.size, 1)
    )


def decode_picture(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode a picture: (height, width, 3) uint8 RGB."""
    with av.open(io.BytesIO(data), "r") as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    return picture.astype(np.uint8)


def assert_shows_bars(picture: npt.NDArray[np.uint8]) -> None:
    """Fail unless the colour bars of the synthetic picture are there."""
    height, width, _ = picture.shape
    for index, colour in enumerate(BARS):
        x = round((index + 0.5) * width / len(BARS))
        found = picture[height // 4 - 4 : height // 4 + 4, x - 4 : x + 4].mean(axis=(0, 1))
        assert np.abs(found - colour).max() <= BAR_TOLERANCE, (index, found, colour)


def assert_tools_accept(data: bytes, directory: Path) -> None:
    """Fail unless ffprobe, opusinfo and opusdec take an audio slice without a complaint."""
    path = directory / "slice.ogg"
    path.write_bytes(data)
    for command in (
        ["ffprobe", "-v", "warning", str(path)],
        ["opusinfo", str(path)],
        ["opusdec", "--quiet", str(path), str(directory / "slice.wav")],
    ):
        assert shutil.which(command[0]), f"{command[0]} is not installed"
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        output = run.stdout + run.stderr
        assert run.returncode == 0, output
        assert command[0] == "opusinfo" or not output.strip(), output
        assert "WARNING" not in output.upper(), output
