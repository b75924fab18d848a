"""What happens in a node: the words in which its parts tell each other of it (`bus`)."""

from dataclasses import dataclass
from enum import Enum, IntEnum

from cloudslice.ids import RoomKey, TrackKind
from cloudslice.slices import Slice, SliceOrigin, TaskRef


class UploadsOutcome(IntEnum):
    """The Status of event 1005 (docs/wire.md, 10.3)."""

    ALL_STORED = 0
    INCOMPLETE = 1
    LEFTOVERS_STORED = 2


class GapReason(Enum):
    """Why nothing of an anchor's audio came for a while, as far as it can be told."""

    MISSING = "missing"
    """Its timestamps went on: packets were lost, or none were sent."""
    NOT_SENT = "not sent"
    """The packet before it said that nothing is sent for a while (DTX)."""
    STOOD_STILL = "stood still"
    """Its timestamps did not go on as time did: the sender had stood still."""


class GapFilling(Enum):
    """What stands in a gap (docs/decisions/gaps.md)."""

    CONCEALED = "concealed"
    SILENCE = "silence"
    NOTHING = "nothing"
    """No file covers it."""


class PictureMissing(Enum):
    """Why a picture was not taken; the value is that of its counter in the metrics."""

    MUTED = "muted"
    """The anchor sent no video."""
    NO_KEYFRAME = "no_keyframe"
    """No intact key frame came, though video did."""
    POOL_FULL = "pool_full"
    """Image work could not keep up."""
    UNDECODABLE = "undecodable"
    """The key frame could not be decoded."""
    LOST = "lost"
    """The process that was to make it died, or had died of the key frame before."""


class ExitReason(IntEnum):
    """Why an anchor left its room: the Reason of event 104 (docs/api.md)."""

    NORMAL = 1
    TIMEOUT = 2
    REMOVED = 3


@dataclass(frozen=True, slots=True)
class RobotEntered:
    """A task's robot is in its room, or could not enter it."""

    task: TaskRef
    has_failed: bool


@dataclass(frozen=True, slots=True)
class RobotLeft:
    """A task's robot is out of its room, and all its slices are handed in."""

    task: TaskRef
    leave_code: int


@dataclass(frozen=True, slots=True)
class UploadsStarted:
    """A task's first upload is about to be tried, or cannot be."""

    task: TaskRef
    has_failed: bool


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """A task's uploads fail for a reason that is new, or slices of it are lost."""

    task: TaskRef
    status: int
    """Of the store's answer (HTTP), 0 if there was none."""
    reason: str
    """The store's code and text, or ours; never a credential."""


@dataclass(frozen=True, slots=True)
class UploadsEnded:
    """A task has ended, and this is how far its uploads have come."""

    task: TaskRef
    outcome: UploadsOutcome


@dataclass(frozen=True, slots=True)
class SliceReady:
    """A slice is whole and durable in the spool: it may be uploaded."""

    slice: Slice
    file_size: int
    """Bytes that it takes in the spool; more than those of its content."""


@dataclass(frozen=True, slots=True)
class SliceStored:
    """A slice is in its bucket."""

    task: TaskRef
    slice: Slice
    url: str


@dataclass(frozen=True, slots=True)
class SliceLost:
    """A slice, or the end of one, will never be in its bucket."""

    origin: SliceOrigin
    reason: str
    is_partial: bool = False
    """Its beginning is kept and delivered."""


@dataclass(frozen=True, slots=True)
class LossRecorded:
    """All that a task has lost by now is on record, and told."""

    task_id: str


@dataclass(frozen=True, slots=True)
class SliceGone:
    """A slice of a task that was begun came to nothing."""

    task_id: str


@dataclass(frozen=True, slots=True)
class AudioGap:
    """Nothing of an anchor's audio came for a while, and then it went on."""

    origin: SliceOrigin
    start_ms: int
    """UTC milliseconds."""
    samples: int
    """Its length, in samples of 48 kHz."""
    reason: GapReason
    filling: GapFilling


@dataclass(frozen=True, slots=True)
class PictureNotTaken:
    """A picture of an anchor was due, and there is none."""

    origin: SliceOrigin
    due_ms: int
    """UTC milliseconds."""
    reason: PictureMissing


@dataclass(frozen=True, slots=True)
class RoomCreated:
    """The first anchor is about to enter a room. Robots do not count."""

    room: RoomKey
    user_id: str


@dataclass(frozen=True, slots=True)
class RoomDismissed:
    """The last anchor has left a room."""

    room: RoomKey


@dataclass(frozen=True, slots=True)
class AnchorJoined:
    """An anchor is in a room; its media will begin."""

    room: RoomKey
    user_id: str


@dataclass(frozen=True, slots=True)
class AnchorLeft:
    """An anchor is gone, and its media with it: no `MediaStopped` follows."""

    room: RoomKey
    user_id: str
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class MediaStarted:
    """An anchor's packets of a kind have begun to come."""

    room: RoomKey
    user_id: str
    kind: TrackKind


@dataclass(frozen=True, slots=True)
class MediaStopped:
    """An anchor, which is in the room, has stopped to send packets of a kind."""

    room: RoomKey
    user_id: str
    kind: TrackKind


@dataclass(frozen=True, slots=True)
class WebhookDelivered:
    """A receiver has taken a webhook."""

    sdk_app_id: int
    event_id: int
