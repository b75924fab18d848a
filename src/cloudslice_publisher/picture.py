"""The synthetic picture: colour bars of known colours, who it is, the time, and motion."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cloudslice_publisher.lettering import text_mask

Rgb = tuple[int, int, int]
"""Red, green, blue; each 0..255."""

RgbImage = npt.NDArray[np.uint8]
"""(height, width, 3) uint8, full range."""

# 75 % bars in the order of SMPTE EG 1.
BARS: tuple[Rgb, ...] = (
    (191, 191, 191),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
)


class Swatch(NamedTuple):
    """A point of the picture whose surroundings have one known colour at all times."""

    x: int
    y: int
    colour: Rgb


@dataclass(frozen=True)
class ColourBars:
    """A picture that changes with time, in three bands.

    On top the colour bars; below them a band of the accent colour with the name and the clock;
    at the bottom a texture that scrolls, which gives an encoder about as much to do as a room
    with somebody in it.

    Attributes:
        width, height: in pixels, even.
        name: written beside the clock.
        accent: tells one anchor's picture from another's.
    """

    width: int
    height: int
    name: str = ""
    accent: Rgb = (32, 64, 160)
    _bars: RgbImage = field(init=False, repr=False, compare=False)
    _texture: RgbImage = field(init=False, repr=False, compare=False)
    _grain: RgbImage = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        columns = np.arange(self.width) * len(BARS) // self.width
        bars = np.array(BARS, dtype=np.uint8)[columns][np.newaxis]
        object.__setattr__(self, "_bars", bars.repeat(self._band_top, axis=0))
        texture = _texture(self.width, self.height - self._band_bottom)
        object.__setattr__(self, "_texture", texture)
        object.__setattr__(self, "_grain", _grain(*texture.shape[:2]))

    @property
    def _band_top(self) -> int:
        return self.height * 11 // 20

    @property
    def _band_bottom(self) -> int:
        return self.height * 15 // 20

    def swatches(self) -> list[Swatch]:
        """The middle of each bar, and a point at the left end of the accent band."""
        bar = self.width / len(BARS)
        points = [
            Swatch(int((index + 0.5) * bar), self._band_top // 2, colour)
            for index, colour in enumerate(BARS)
        ]
        middle = (self._band_top + self._band_bottom) // 2
        return [*points, Swatch(self._margin // 2, middle, self.accent)]

    def paint(self, second: float) -> RgbImage:
        """The picture at `second` of its loop."""
        picture = np.empty((self.height, self.width, 3), dtype=np.uint8)
        picture[: self._band_top] = self._bars
        picture[self._band_top : self._band_bottom] = self.accent
        picture[self._band_bottom :] = self._paint_texture(second)
        self._write(picture, f"{self.name} {_clock(second)}".strip())
        return picture

    def _paint_texture(self, second: float) -> RgbImage:
        # A width in three seconds: motion that an encoder can follow, as of somebody moving, under
        # grain that it cannot follow, as of a camera.
        texture = np.roll(self._texture, int(second * self.width / 3), axis=1)
        instant = int(second * 1000)
        grain = np.roll(self._grain, (instant * 7, instant * 13), axis=(0, 1))
        return texture + grain

    @property
    def _margin(self) -> int:
        return self.width // 16

    def _write(self, picture: RgbImage, text: str) -> None:
        band = self._band_bottom - self._band_top
        # Letters are 7 dots high and 6 wide.
        scale = max(1, min(band // 10, (self.width - 2 * self._margin) // (6 * len(text))))
        mask = text_mask(text, scale)[: band - 2, : self.width - 2 * self._margin]
        top = self._band_top + (band - mask.shape[0]) // 2
        area = picture[top : top + mask.shape[0], self._margin : self._margin + mask.shape[1]]
        area[mask] = (0, 0, 0) if _is_light(self.accent) else (255, 255, 255)


def _clock(second: float) -> str:
    minutes, seconds = divmod(second, 60)
    return f"{int(minutes):02}:{int(seconds):02}.{int(seconds * 10) % 10}"


def _is_light(colour: Rgb) -> bool:
    red, green, blue = colour
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 128


def _texture(width: int, height: int) -> RgbImage:
    """Soft blotches in muted colours; the same every time."""
    dots = np.random.default_rng(1).integers(48, 208, size=(3, 2 + 2 * width // height, 3))
    dots[:, -1] = dots[:, 0]  # the right end joins the left one
    blotches = _stretch(_stretch(dots.astype(np.float32), height, axis=0), width, axis=1)
    return blotches.astype(np.uint8)


def _grain(height: int, width: int) -> RgbImage:
    """Grey noise to be added to a texture, which is dark enough for it; the same every time."""
    noise = np.random.default_rng(2).integers(0, 16, size=(height, width, 1), dtype=np.uint8)
    return noise.repeat(3, axis=2)


def _stretch(values: npt.NDArray[np.float32], length: int, *, axis: int) -> npt.NDArray[np.float32]:
    """Linear interpolation along `axis`, from the first to the last value."""
    place = np.linspace(0, values.shape[axis] - 1, length, dtype=np.float32)
    before = np.minimum(place.astype(np.intp), values.shape[axis] - 2)
    part = (place - before).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    blend = values.take(before, axis) * (1 - part) + values.take(before + 1, axis) * part
    return np.asarray(blend, dtype=np.float32)
