"""Our own rooms: who is in them, and who hears of it."""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import methodcaller

import structlog

from cloudslice.bus import Bus
from cloudslice.clock import Clock
from cloudslice.config import RtcSettings
from cloudslice.faults import Faults
from cloudslice.ids import RoomKey
from cloudslice.rooms.base import LeaveCode, RoomEntryError, RoomListener
from cloudslice.rooms.builtin.connecting import Connecting
from cloudslice.rooms.builtin.publication import Publication, connection_options
from cloudslice.rooms.builtin.reporter import RoomReporter
from cloudslice.rooms.management import RoomNotFoundError
from cloudslice.tick import Tick
from cloudslice.webrtc.accepting import ReceivePolicy
from cloudslice.webrtc.connection_user import CloseReason
from cloudslice.webrtc.dtls import DtlsCertificate
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.remote_description import RemoteDescription
from cloudslice.webrtc.udp.port import UdpPort

_log = structlog.get_logger(__name__)


class UserIdTakenError(Exception):
    """A robot of this UserId is in the room."""


@dataclass(slots=True)
class _Room:
    anchors: dict[str, Publication] = field(default_factory=dict)
    robots: dict[str, RoomListener] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        return not self.anchors and not self.robots


class _RobotAttendance:
    """A robot's Attendance of a builtin room."""

    def __init__(self, catch_up: Callable[[], None], leave: Callable[[], None]) -> None:
        self.catch_up = catch_up
        self.leave = leave


class BuiltinRooms:
    """The RoomProvider of the rooms that anchors enter by WHIP.

    Attributes:
        entry_timeout_s: see `RoomProvider`; nothing of ours has to be waited for.

    Args:
        port: where all anchors' media comes in.
        settings: of the file's [rtc].
        clock: for timeouts and arrival times.
        tick: on which media is read, and looked after.
        bus: is told of anchors and their media.
    """

    def __init__(
        self,
        port: UdpPort,
        settings: RtcSettings,
        clock: Clock,
        tick: Tick,
        bus: Bus,
    ) -> None:
        self.entry_timeout_s = 10.0
        self._port = port
        self._options = connection_options(settings)
        self._clock = clock
        self._tick = tick
        self._certificate = DtlsCertificate()
        self._rooms: dict[RoomKey, _Room] = {}
        self._publications: dict[str, Publication] = {}
        self._connecting: Connecting[Publication] = Connecting(settings)
        self._counts_of_ended: Counter[str] = Counter()
        self._on_left: list[Callable[[RoomKey], object]] = []
        self.faults = Faults("room")
        """Unforeseen errors: of robots that are told of anchors, and of WHIP requests."""
        self._reporter = RoomReporter(bus, self.faults)
        tick.add(self._reporter)

    def check_offer(self, room: RoomKey, user_id: str) -> None:
        """Whether an offer would be taken now; cheaper than reading it.

        Raises:
            UserIdTakenError: a robot of this UserId is in the room.
            TooManyConnectingError: too many sessions are not connected yet.
        """
        if user_id in self._rooms.get(room, _Room()).robots:
            raise UserIdTakenError
        self._connecting.check(room, user_id)

    @property
    def receive_policy(self) -> ReceivePolicy:
        """What of an anchor's offer is taken."""
        return self._options.policy

    def publish(
        self, room: RoomKey, user_id: str, offer: RemoteDescription
    ) -> tuple[Publication, str]:
        """Take an anchor's offer; the publication, and the SDP answer.

        The anchor joins the room when its media can come, and then takes the place of an older
        anchor of its UserId. An older one that is still on its way never arrives.

        Args:
            offer: one that `accept_offer` takes by `receive_policy`.

        Raises:
            UserIdTakenError, TooManyConnectingError: see `check_offer`.
        """
        self.check_offer(room, user_id)
        publication = Publication(
            secrets.token_urlsafe(16),
            room,
            user_id,
            connect=lambda user: PeerConnection(
                self._port, self._certificate, self._options, user, self._clock
            ),
            on_connected=self._join,
            on_closed=self._leave,
        )
        answer = publication.connection.answer(offer)
        former = self._connecting.find(room, user_id)
        if former is not None:
            former.connection.close()
        self._publications[publication.publication_id] = publication
        self._connecting.add(room, user_id, publication)
        self._tick.wake()
        return publication, answer

    def end(
        self, publications: Collection[Publication], reason: CloseReason = CloseReason.ENDED
    ) -> None:
        """End publications, whose media is taken in to the last packet that has come."""
        for each in publications:
            try:
                each.connection.close(reason)
            except Exception as error:
                # It has ended all the same, and so are the others to.
                self.faults.caught(error)

    def publication(self, publication_id: str) -> Publication | None:
        """The publication of that id, if it has not ended."""
        return self._publications.get(publication_id)

    def is_occupied(self, room: RoomKey) -> bool:
        """Whether anybody is in the room."""
        return room in self._rooms

    def has_anchors(self, room: RoomKey) -> bool:
        """Whether anchors are in the room, or on their way into it."""
        members = self._rooms.get(room)
        return bool(members and members.anchors) or self._connecting.has_any(room)

    def on_left(self, call: Callable[[RoomKey], object]) -> None:
        """`call` when an anchor has left a room, or will not come."""
        self._on_left.append(call)

    def put_out_anchors(self, room: RoomKey) -> None:
        """End all anchors' sessions of a room. It has gone elsewhere: who comes again by the same
        endpoint finds it."""
        self.end([each for each in self._publications.values() if each.room == room])

    async def exists(self, room: RoomKey) -> bool:
        """See `RoomService`."""
        return self.is_occupied(room)

    async def check(self, key: RoomKey, robot_user_id: str) -> None:
        """See `RoomProvider`: our rooms can always be entered."""

    async def enter(
        self, key: RoomKey, robot_user_id: str, listener: RoomListener
    ) -> _RobotAttendance:
        """Enter a room as a robot; an older robot of this UserId leaves.

        Raises:
            RoomEntryError: an anchor of this UserId has come since the task was admitted.
        """
        if self.holds_user(key, robot_user_id):
            raise RoomEntryError(f"UserId {robot_user_id} is in the room already")
        self._catch_up(key)  # what came before this robot is not for it
        room = self._rooms.setdefault(key, _Room())
        former = room.robots.pop(robot_user_id, None)
        if former is not None and former is not listener:
            self._tell([former], lambda robot: robot.on_evicted(LeaveCode.REPLACED))
        room.robots[robot_user_id] = listener
        for anchor in list(room.anchors.values()):
            self._tell([listener], methodcaller("on_anchor_joined", anchor))
        return _RobotAttendance(
            catch_up=lambda: self._catch_up(key),
            leave=lambda: self._robot_left(key, robot_user_id, listener),
        )

    def holds_user(self, key: RoomKey, user_id: str) -> bool:
        """Whether an anchor is in the room under `user_id`, or on its way into it."""
        return any(
            each.room == key and each.user_id == user_id for each in self._publications.values()
        )

    async def remove_users(self, room: RoomKey, user_ids: Sequence[str]) -> None:
        """Put anchors and robots out of the room (RoomService.remove_users)."""
        members = self._members(room)
        for user_id in user_ids:
            self._put_out(room, members, user_id, LeaveCode.REMOVED)
        self._drop_if_empty(room)

    async def dismiss(self, room: RoomKey) -> None:
        """Put everybody out of the room (RoomService.dismiss)."""
        members = self._members(room)
        on_their_way = [each.user_id for each in self._publications.values() if each.room == room]
        for user_id in [*members.robots, *members.anchors, *on_their_way]:
            self._put_out(room, members, user_id, LeaveCode.ROOM_DISMISSED)
        self._drop_if_empty(room)

    def media_counts(self) -> Counter[str]:
        """What all anchors' sessions have received and dropped since the start."""
        total = self._counts_of_ended.copy()
        for publication in self._publications.values():
            total.update(publication.connection.counts)
        return total

    @property
    def states(self) -> Counter[str]:
        """Of connections to other servers: there is none."""
        return Counter()

    @property
    def anchor_count(self) -> int:
        """How many anchors are in all rooms."""
        return sum(len(room.anchors) for room in self._rooms.values())

    def close(self) -> None:
        """Put all anchors out: the server stops."""
        self.end([*self._publications.values()])

    def _join(self, publication: Publication) -> None:
        self._connecting.discard(publication.room, publication.user_id, publication)
        self._reporter.entered(publication)
        former = self._rooms.get(publication.room, _Room()).anchors.get(publication.user_id)
        if former is not None:
            self.end([former])
        room = self._rooms.setdefault(publication.room, _Room())
        room.anchors[publication.user_id] = publication
        _log.info("anchor joined", **_fields(publication), tracks=_track_names(publication))
        self._tell(room.robots.values(), lambda robot: robot.on_anchor_joined(publication))

    def _leave(self, publication: Publication, reason: CloseReason, failure: str) -> None:
        self._publications.pop(publication.publication_id, None)
        self._connecting.discard(publication.room, publication.user_id, publication)
        self._remove(publication)  # first: its slices end, whatever breaks beside them
        self._reporter.left(publication, reason)
        why = {"failure": failure} if failure else {}
        _log.info("anchor left", **_fields(publication), reason=reason.value, **why)
        self._counts_of_ended.update(publication.connection.counts)
        for call in self._on_left:
            call(publication.room)

    def _remove(self, publication: Publication) -> None:
        """Take an anchor out of its room, if it is there."""
        room = self._rooms.get(publication.room)
        if room is None or room.anchors.get(publication.user_id) is not publication:
            return
        del room.anchors[publication.user_id]
        self._tell(room.robots.values(), lambda robot: robot.on_anchor_left(publication))
        self._drop_if_empty(publication.room)

    def _tell(self, robots: Iterable[RoomListener], tell: Callable[[RoomListener], None]) -> None:
        for robot in list(robots):
            try:
                tell(robot)
            except Exception as error:
                # One robot's failure is not to keep the news from the others.
                self.faults.caught(error)

    def _robot_left(self, key: RoomKey, robot_user_id: str, listener: RoomListener) -> None:
        room = self._rooms.get(key)
        if room is not None and room.robots.get(robot_user_id) is listener:
            self._catch_up(key)
            del room.robots[robot_user_id]
            self._drop_if_empty(key)

    def _catch_up(self, key: RoomKey) -> None:
        """Have the robots in a room hear what its anchors have sent so far."""
        room = self._rooms.get(key)
        if room is not None and room.anchors:
            self._take_in(room.anchors.values())

    def _take_in(self, publications: Collection[Publication]) -> None:
        """Hand on what they have sent so far. If this breaks, who was to leave leaves without."""
        try:
            self._port.catch_up([each.connection.peer for each in publications])
        except Exception as error:
            self.faults.caught(error)

    def _members(self, key: RoomKey) -> _Room:
        room = self._rooms.get(key)
        if room is None:
            raise RoomNotFoundError
        return room

    def _put_out(self, key: RoomKey, members: _Room, user_id: str, code: LeaveCode) -> None:
        if user_id in members.robots:
            self._catch_up(key)
        robot = members.robots.pop(user_id, None)
        if robot is not None:
            self._tell([robot], lambda each: each.on_evicted(code))
        # Also those on their way in: a removed user must not appear a moment later.
        self.end(
            [
                each
                for each in self._publications.values()
                if each.room == key and each.user_id == user_id
            ]
        )

    def _drop_if_empty(self, key: RoomKey) -> None:
        room = self._rooms.get(key)
        if room is not None and room.is_empty:
            del self._rooms[key]


def _fields(publication: Publication) -> dict[str, object]:
    return {
        "sdk_app_id": publication.room.sdk_app_id,
        "room_id": publication.room.wire_id,
        "user_id": publication.user_id,
    }


def _track_names(publication: Publication) -> list[str]:
    return [kind.value for kind, _ in publication.tracks]
