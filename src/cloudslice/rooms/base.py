"""What every kind of room offers to a robot, and what a robot must be able to hear.

Rooms know nothing of slicing: they push audio packets into sinks and answer requests for key
frames. All calls are plain synchronous calls on the event loop, so that a packet goes from the
socket to its slice without a queue or a task on its way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import NamedTuple, Protocol, Self


class RoomIdType(IntEnum):
    """The API's RoomIdType (contract C1): "1" and 1 are two rooms."""

    STRING = 0
    NUMBER = 1


class LeaveCode(IntEnum):
    """Why a robot left its room: the LeaveCode of event 1002 (contract E3)."""

    STOPPED = 0
    REMOVED = 1
    ROOM_DISMISSED = 2
    SERVER_REMOVED = 3
    SERVER_DISMISSED = 4
    IDLE = 99
    CONNECTION_LOST = 100
    REPLACED = 101


@dataclass(frozen=True, slots=True)
class RoomKey:
    """A room's identity: room ids are unique within an app and a RoomIdType only."""

    sdk_app_id: int
    room_id: str
    room_id_type: RoomIdType

    @property
    def wire_id(self) -> int | str:
        """The room id as events carry it: a number for numeric rooms, else the text."""
        return int(self.room_id) if self.room_id_type is RoomIdType.NUMBER else self.room_id


class TrackKind(Enum):
    """Which of an anchor's streams: a screen share (AUX) is a second video."""

    AUDIO = "audio"
    VIDEO = "video"
    AUX = "aux"


class VideoCodec(Enum):
    """The video codecs whose key frames can be decoded."""

    H264 = "h264"
    VP8 = "vp8"


class OpusRun(NamedTuple):
    """Opus packets (RFC 6716) of one anchor that follow each other without a gap.

    Two and more of them have one frame each (code 0), the same TOC byte and so the same duration,
    and timestamps that go on without a gap. One alone may be anything that is not empty.
    """

    data: bytes
    """The packets as the anchor's encoder made them, joined."""
    sizes: Sequence[int]
    """Bytes of each."""
    timestamp: int
    """Of the first packet: RTP ticks of 48 kHz, extended beyond 32 bits: it never wraps."""
    arrival: float
    """Monotonic second at which the first packet was received."""
    last_arrival: float
    """...and the last one."""
    earliest: float
    """When the first packet would have been received, had it been as quick as the quickest: the
    least of each packet's arrival less the audio between the first packet's start and its own."""

    @classmethod
    def of_one(cls, packet: bytes, timestamp: int, arrival: float) -> Self:
        """A run of a single packet."""
        return cls(packet, (len(packet),), timestamp, arrival, arrival, arrival)

    def packets(self) -> Iterator[bytes]:
        """Each of the packets."""
        start = 0
        for size in self.sizes:
            yield self.data[start : start + size]
            start += size


class AudioSink(Protocol):
    """Receives one anchor's audio. Called on the event loop; must not block or raise."""

    def on_opus(self, run: OpusRun) -> None:
        """The next Opus packets, in order, each at most once; missing ones never come.

        Timestamps may step in either direction between runs when the sender's clock jumps, and when
        its SSRC changes; then `on_restart` is called before the first packet.
        """
        ...

    def on_restart(self) -> None:
        """The next packet's timestamp has no relation to the ones before."""
        ...

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        """The sender says (RTCP sender report) that extended `timestamp` was at its `utc_ms`."""
        ...


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One intact key frame: every packet of it arrived.

    Attributes:
        codec: how `data` is coded.
        data: H.264: an Annex B access unit with its parameter sets; VP8: the frame.
        arrival: monotonic second at which the frame's first packet was received.
        rotation: clockwise degrees to turn the picture by before showing it: 0, 90, 180, 270.
    """

    codec: VideoCodec
    data: bytes
    arrival: float
    rotation: int


KeyframeReceiver = Callable[[Keyframe], None]
"""Called once, on the event loop, with the key frame that was asked for."""


class KeyframeRequest(Protocol):
    """A wish for one key frame, open until it is granted or cancelled."""

    def cancel(self) -> None:
        """Withdraw the wish; harmless when it was granted already."""
        ...


class AudioTrack(Protocol):
    """An anchor's audio."""

    def add_sink(self, sink: AudioSink) -> None:
        """Send every packet from now on to `sink`, until `remove_sink`."""
        ...

    def remove_sink(self, sink: AudioSink) -> None:
        """Stop sending to `sink`; harmless when it is not there."""
        ...


class VideoTrack(Protocol):
    """An anchor's video: asked for single key frames, never listened to."""

    @property
    def flowing(self) -> bool:
        """Whether the anchor has sent video in the last two seconds."""
        ...

    def request_keyframe(self, receiver: KeyframeReceiver, due: float) -> KeyframeRequest:
        """Give `receiver` the first intact key frame that arrives from now on.

        A key frame that comes on its own before `due` (monotonic second) is taken; from `due`
        on the sender is asked for one, again and again while video flows. Requests that are
        open at the same time share one key frame.
        """
        ...


class Anchor(Protocol):
    """A member that sends media."""

    @property
    def user_id(self) -> str: ...

    @property
    def audio(self) -> AudioTrack | None: ...

    @property
    def video(self) -> VideoTrack | None: ...

    @property
    def aux(self) -> VideoTrack | None: ...


class RoomListener(Protocol):
    """What a robot hears from its room. Called on the event loop; must not block or raise."""

    def on_anchor_joined(self, anchor: Anchor) -> None:
        """An anchor is there (also called on entering, for each one already there)."""
        ...

    def on_anchor_changed(self, anchor: Anchor) -> None:
        """The anchor's set of tracks is another one now; gone tracks send nothing more."""
        ...

    def on_anchor_left(self, anchor: Anchor) -> None:
        """The anchor is gone; its tracks send nothing more."""
        ...

    def on_evicted(self, code: LeaveCode) -> None:
        """The robot is out of the room, not by its own wish; nothing more will be heard."""
        ...


class Attendance(Protocol):
    """A robot's stay in a room.

    A robot hears what arrived at this machine while it was there: nothing that arrived before it
    entered, and all that arrived before it left or was put out.
    """

    def catch_up(self) -> None:
        """Have the robot hear all that has arrived by now and was not handed on yet, before this
        returns: what comes after it arrived after it. Harmless when the room is left."""
        ...

    def leave(self) -> None:
        """Leave the room, having caught up; harmless when it is left already."""
        ...


class RoomEntryError(Exception):
    """The robot could not enter; the text says why and is fit to be shown to the API's user."""


class RoomProvider(Protocol):
    """A source of rooms: our own server, or somebody else's that we are a guest of."""

    async def enter(self, key: RoomKey, robot_user_id: str, listener: RoomListener) -> Attendance:
        """Enter a room (which need not exist yet) as the member `robot_user_id`.

        Cancelled or failed, the robot is not in the room.

        Raises:
            RoomEntryError: the room cannot be entered.
        """
        ...

    def holds_user(self, key: RoomKey, user_id: str) -> bool:
        """Whether a member that is not a robot is in the room under `user_id`."""
        ...

    def user_ids(self, key: RoomKey) -> Iterable[str]:
        """The members of the room that are not robots."""
        ...
