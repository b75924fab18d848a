"""Camera-like media: what a camera sees costs more to decode and to deflate than colour bars do."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cloudslice_publisher.encode import AudioSpec, VideoSpec, encode_audio, encode_video
from cloudslice_publisher.media import AudioLoop, Media, PacketizedFrame, VideoLoop
from cloudslice_publisher.packetizer import packetize
from cloudslice_publisher.sound import tone

_Image = NDArray[np.uint8]
"""(height, width, 3) uint8."""

_SWAY = 12
"""Pixels that the camera sways by, as if it were held in a hand."""
_GRAIN = 3
"""Standard deviation of the sensor's noise, of 255."""
_MARGIN = 12
"""Levels from black and white that textures keep, so that grain has room."""
_LEAVES = 4000


def camera_media(spec: VideoSpec, *, seconds: int = 10) -> Media:
    """Somebody moves before a background, seen by a swaying camera with grain; a loop of `seconds`.

    Pictures follow the "dead leaves" model of natural images (Lee, Mumford and Huang, 2001): things
    of all sizes that hide each other, so that there are flat parts, edges and fine detail in about
    the proportions that photographs have. At 1280x720 and 1.5 Mbit/s one photograph (enlarged from
    720x477), under the same sway and grain, had a key frame of 42 KB and a PNG of 1.02 MB; a key
    frame of this has 42 KB, and its PNG 1.09 MB.
    """
    frames = tuple(
        PacketizedFrame(packetize(spec.codec, frame.data), frame.is_keyframe)
        for frame in encode_video(camera_pictures(spec, seconds), spec)
    )
    sound = encode_audio(tone(220, seconds), AudioSpec())
    return Media(VideoLoop(spec, frames), AudioLoop(tuple(sound)))


def camera_pictures(spec: VideoSpec, seconds: int) -> Iterator[_Image]:
    """The pictures of `camera_media`: (height, width, 3) uint8 RGB."""
    random = np.random.default_rng(1)
    height, width = spec.height, spec.width
    room = _dead_leaves(height + 2 * _SWAY, width + 2 * _SWAY, random)
    person = _dead_leaves(height * 3 // 4, width // 3, random)
    rows, columns = np.mgrid[-1 : 1 : person.shape[0] * 1j, -1 : 1 : person.shape[1] * 1j]
    outline = rows**2 + columns**2 < 1
    noise = random.normal(0, _GRAIN, (height + 64, width + 64, 1)).clip(-_MARGIN, _MARGIN)
    grain = noise.astype(np.int8).view(np.uint8).repeat(3, axis=2)
    count = seconds * spec.fps
    for index in range(count):
        turn = 2 * math.pi * index / count
        top, left = _SWAY + round(_SWAY * math.sin(3 * turn)), _SWAY + round(_SWAY * math.cos(turn))
        picture = room[top : top + height, left : left + width].copy()
        top = height // 4 + round(height / 40 * math.sin(5 * turn)) - height // 20
        left = width // 3 + round(width / 8 * math.sin(2 * turn))
        area = picture[top : top + person.shape[0], left : left + person.shape[1]]
        area[outline] = person[outline]
        top, left = random.integers(0, 64, 2)
        # Negative grain is added modulo 256; no sum leaves 0..255.
        picture += grain[top : top + height, left : left + width]
        yield picture


def _dead_leaves(height: int, width: int, random: np.random.Generator) -> _Image:
    """Discs at random places, of sizes by the inverse cube, each shaded, behind a soft lens."""
    image = np.full((height, width, 3), 128, np.float32)
    smallest, largest = 3.0, height / 3
    for _ in range(_LEAVES):
        radius = (random.uniform(largest**-2, smallest**-2)) ** -0.5
        y, x = random.uniform(0, height), random.uniform(0, width)
        top, bottom = max(0, int(y - radius)), min(height, int(y + radius) + 1)
        left, right = max(0, int(x - radius)), min(width, int(x + radius) + 1)
        rows, columns = np.ogrid[top:bottom, left:right]
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        # Mostly grey, as rooms and faces are, and lit from above.
        colour = random.uniform(40, 215) + random.normal(0, 18, 3)
        shade = (rows - y) / radius * random.uniform(-25, 5)
        image[top:bottom, left:right][inside] = (
            colour + np.broadcast_to(shade[..., np.newaxis], (*inside.shape, 1))
        )[inside]
    for axis in (0, 1):
        image = (np.roll(image, 1, axis) + 2 * image + np.roll(image, -1, axis)) / 4
    return image.clip(_MARGIN, 255 - _MARGIN).astype(np.uint8)
