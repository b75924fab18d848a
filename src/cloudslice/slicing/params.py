"""What a task wants sliced: the API's SliceParams, checked and with defaults."""

from dataclasses import dataclass
from enum import Enum
from typing import TypedDict


class ImageFormat(Enum):
    """The API's SliceImageType; the value is the file name extension."""

    PNG = "png"
    JPG = "jpg"


@dataclass(frozen=True, slots=True)
class SubscriptionLists:
    """The API's SubscribeStreamUserIds: for each medium an allow list or a block list, never both.

    Entries are user ids, or prefix rules that end in ``.*$`` (docs/wire.md, 8). Empty: no
    restriction.
    """

    audio_allow: tuple[str, ...] = ()
    audio_block: tuple[str, ...] = ()
    video_allow: tuple[str, ...] = ()
    video_block: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SliceParams:
    """How a task slices. Times in seconds."""

    audio: bool
    """SliceType 1 or 3."""
    video: bool
    """SliceType 2 or 3."""
    max_idle_s: int = 30
    audio_slice_s: int = 15
    video_interval_s: int = 5
    image_format: ImageFormat = ImageFormat.PNG


class ParamChanges(TypedDict, total=False):
    """Some of `SliceParams`, to be changed while a task runs."""

    audio: bool
    video: bool
    max_idle_s: int
    audio_slice_s: int
    video_interval_s: int
    image_format: ImageFormat
