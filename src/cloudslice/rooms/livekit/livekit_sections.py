"""Our offers to a LiveKit server, and whose track each media section carries by its answers.

We offer sections that receive. The server puts tracks into those that are free, and says how many
more it needs.
"""

from collections.abc import Callable, Mapping

import structlog
from livekit.protocol import rtc

from cloudslice.codecs.codec import MediaKind
from cloudslice.webrtc.offering import section_to_receive
from cloudslice.webrtc.peer_connection import PeerConnection
from cloudslice.webrtc.receiver import Receiver
from cloudslice.webrtc.remote_description import parse_remote_description

_MAX_SECTIONS = 400
"""Many times what 25 anchors of three tracks need."""

_log = structlog.get_logger(__name__)


class OfferedSections:
    """The sections of one connection. One offer is open at a time.

    Args:
        connection: what they are of.
        send: sends an offer.
        on_carried: told after each answer, by the server's name of the track, what receives it.
    """

    def __init__(
        self,
        connection: PeerConnection,
        send: Callable[[rtc.SignalRequest], None],
        on_carried: Callable[[Mapping[str, Receiver]], None],
    ) -> None:
        self._connection = connection
        self._send = send
        self._on_carried = on_carried
        self._sections = [section_to_receive("0", "audio"), section_to_receive("1", "video")]
        self._offers = 0
        self._is_open = False
        self._is_another_due = False

    def make_offer(self, *, restarts_ice: bool = False) -> rtc.SessionDescription:
        """The next offer, which is open from now on. Whatever became of an older one is of no
        matter any more."""
        self._is_open, self._is_another_due = True, False
        self._offers += 1
        text = self._connection.offer(self._sections, restarts_ice=restarts_ice)
        return rtc.SessionDescription(type="offer", sdp=text, id=self._offers)

    def require(self, requirement: rtc.MediaSectionsRequirement) -> None:
        """The server wants an offer, with so many more sections."""
        self._add("audio", requirement.num_audios)
        self._add("video", requirement.num_videos)
        if self._is_open:
            self._is_another_due = True
        else:
            self._send(rtc.SignalRequest(offer=self.make_offer()))

    def accept(self, answer: rtc.SessionDescription) -> None:
        """Go by the server's answer to the open offer; another one than that is passed over.

        Raises:
            SdpError: it cannot be used.
        """
        if not self._is_open or answer.id not in (0, self._offers):
            return
        self._connection.accept(parse_remote_description(answer.sdp))
        self._is_open = False
        self._on_carried(self._find_carried(answer.mid_to_track_id))
        if self._is_another_due:
            self._send(rtc.SignalRequest(offer=self.make_offer()))

    def _add(self, kind: MediaKind, count: int) -> None:
        for _ in range(min(count, _MAX_SECTIONS - len(self._sections))):
            self._sections.append(section_to_receive(str(len(self._sections)), kind))

    def _find_carried(self, track_by_mid: Mapping[str, str]) -> dict[str, Receiver]:
        """Where the server's list and its answer contradict each other nothing is received."""
        found: dict[str, Receiver] = {}
        taken = self._connection.negotiation.taken if self._connection.negotiation else ()
        for section in taken:
            sid = track_by_mid.get(section.mid)
            receiver = self._connection.streams.receivers.get(section.mid)
            if sid is None or receiver is None or not section.direction.receives:
                continue
            if sid in section.msid:
                found[sid] = receiver
            else:
                _log.warning("section of another track", track=sid, msid=section.msid)
        return found
