"""Which of an anchor's two videos pictures are taken of: the main one while it flows, else the
screen share. What was negotiated does not tell: a camera that is off keeps its track."""

from cloudslice.media.tracks import VideoTrack

_LEAVE_S = 1.0
"""Seconds that the main video must not have flowed before the screen share is taken. A video flows
until 2 s after its last packet, and a packet may wait a tick to be read, so a camera of one picture
every 2.5 s is never left. Short enough that the screen gives the picture that was asked of the
camera in vain, within the shortest interval of 5 s."""
_RETURN_S = 2.5
"""Seconds that the main video must have flowed before it is taken again: longer than one packet
alone makes it flow, so that a camera of one picture every 4 s or more does not make us switch for
each of them."""


class PictureTrack:
    """Chooses between a main video and a screen share, of which one may be None.

    While neither flows, the main video is waited for.

    Attributes:
        main: the main video.
        screen: the screen share.
        track: the one that pictures are taken of now.
    """

    __slots__ = ("_main_flowed", "_since", "main", "screen", "track")

    def __init__(self, main: VideoTrack | None, screen: VideoTrack | None, now: float) -> None:
        """
        Raises:
            ValueError: there is neither.
        """
        track = main if main is not None else screen
        if track is None:
            raise ValueError("an anchor without video has no pictures")
        self.main = main
        self.screen = screen
        self.track: VideoTrack = track
        self._main_flowed = False
        self._since = now
        """Monotonic second at which `_main_flowed` has changed."""

    @property
    def flowing(self) -> bool:
        """Whether the anchor sends video of either kind."""
        return any(each is not None and each.flowing for each in (self.main, self.screen))

    def update(self, now: float) -> VideoTrack:
        """Choose by what flows at monotonic second `now`; to be called a few times a second."""
        main, screen = self.main, self.screen
        if main is None or screen is None:
            return self.track
        flows = main.flowing
        if flows is not self._main_flowed:
            self._main_flowed, self._since = flows, now
        lasted_s = now - self._since
        if self.track is main:
            if not flows and lasted_s >= _LEAVE_S and screen.flowing:
                self.track = screen
        elif (flows and lasted_s >= _RETURN_S) or not screen.flowing:
            self.track = main
        return self.track
