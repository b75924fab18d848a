"""Takes a picture of one video track at every due time, without listening to the track."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf

import structlog

from cloudslice.clock import Clock
from cloudslice.codecs.catalog import CATALOG
from cloudslice.events import PictureMissing, PictureNotTaken
from cloudslice.media.tracks import Keyframe, KeyframeRequest, VideoTrack
from cloudslice.slices import Details, SliceOrigin
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.due_times import AHEAD_S, DueTimes
from cloudslice.slicing.pictures.picture import (
    DeadlyKeyframeError,
    Picture,
    PictureError,
    PictureLostError,
)
from cloudslice.slicing.pictures.picture_notes import with_note
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.slice_notes import to_note
from cloudslice.slicing.slice_store import SliceStore

_log = structlog.get_logger(__name__)

_AGE_TOLD_MS = 200
"""Milliseconds. A key frame that was kept, and is older by more when its picture is due, has its
age in the picture's metadata."""
_MOST_TO_SKIP = 63
"""Key frames. A track that costs a process again and again must not cost others their pictures."""


class FrameGrabber:
    """Pictures of one track at a time: the first at once, then one every `interval_s`; the second
    sooner, to be due together with other tracks' pictures.

    One request for a key frame is open at a time. If it is not fulfilled before the next one is
    due, the picture is told to be not taken, with the reason.
    """

    def __init__(
        self,
        track: VideoTrack,
        origin: SliceOrigin,
        store: SliceStore,
        pool: PicturePool,
        due_times: DueTimes,
        clock: Clock,
        *,
        interval_s: int,
        image_format: ImageFormat,
        counters: SlicingCounters,
        publish: Callable[[PictureNotTaken], object],
        since: float = -inf,
    ) -> None:
        """
        Args:
            counters: counts the pictures that are taken.
            publish: is told of each that is not.
            since: monotonic second; a key frame that arrived before it is not taken.
        """
        self._track = track
        self._since = since
        self._origin = origin
        self._store = store
        self._pool = pool
        self._due_times = due_times
        self._joined_as = track
        self._clock = clock
        self._interval_s = interval_s
        self._image_format = image_format
        self._counters = counters
        self._publish = publish
        self._due = clock.monotonic()
        """Monotonic second of the picture that is asked for, or of the next one..."""
        self._due_then = due_times.join(interval_s, track, self._due)
        """...and of the one after it."""
        self._request: KeyframeRequest | None = None
        self._fulfilled = 0
        """How many requests were."""
        self._has_flowed = False
        """Whether the anchor was seen to send video since the picture was due."""
        self._last: Keyframe | None = None
        """The key frame of the last picture."""
        self._deaths = 0
        """Processes lost to this track's key frames since its last picture."""
        self._to_skip = 0
        """Key frames not to be used, for that reason."""
        self._ask()

    def follow(self, track: VideoTrack) -> None:
        """Take pictures of `track` from now on, at the same due times. A picture that was not taken
        yet is asked for of it."""
        if track is self._track:
            return
        self._track = track
        if self._request is not None:
            self._request.cancel()
            self._request_keyframe()

    def change(self, interval_s: int, image_format: ImageFormat) -> None:
        """Take pictures in another format and at another interval from now on; one that is asked
        for already is due as it was. The next due time is half an interval to a whole one ahead."""
        self._image_format = image_format
        self._origin = replace(self._origin, extension=image_format.value)
        if interval_s == self._interval_s:
            return
        self._due_times.leave(self._interval_s, self._joined_as, self._due_then)
        self._interval_s, self._joined_as = interval_s, self._track
        next_due = self._due_times.join(interval_s, self._track, self._clock.monotonic())
        if self._request is None:
            self._due, self._due_then = next_due, next_due + interval_s
        else:
            self._due_then = next_due

    def tick(self, now: float) -> None:
        """Ask for a key frame when one is due soon. Cheap; to be called on each tick."""
        if self._request is not None:
            if now >= self._due and not self._has_flowed:
                self._has_flowed = self._track.flowing
            if now < self._due_then - AHEAD_S:
                return
            self._give_up(self._request)
        if now >= self._due - AHEAD_S:
            self._ask()

    def close(self) -> None:
        """Take no more pictures; one in the making still reaches the store. To be called once."""
        request, self._request = self._request, None
        try:
            if request is not None:
                request.cancel()
        finally:
            self._due_times.leave(self._interval_s, self._joined_as, self._due_then)

    def _ask(self) -> None:
        self._has_flowed = False
        self._request_keyframe()

    def _request_keyframe(self) -> None:
        fulfilled = self._fulfilled
        request = self._track.request_keyframe(
            self._on_keyframe, self._due - AHEAD_S, max_age_s=self._interval_s
        )
        # One that was kept comes before the call returns.
        self._request = request if self._fulfilled == fulfilled else None

    def _go_on(self) -> None:
        self._due, self._due_then = self._due_then, self._due_then + self._interval_s

    def _give_up(self, request: KeyframeRequest) -> None:
        request.cancel()
        self._request = None
        due_ms = self._clock.utc_ms(self._due)
        self._go_on()
        has_flowed = self._has_flowed
        self._miss(due_ms, PictureMissing.NO_KEYFRAME if has_flowed else PictureMissing.MUTED)

    def _miss(self, due_ms: int, reason: PictureMissing) -> None:
        self._publish(PictureNotTaken(self._origin, due_ms, reason))

    def _on_keyframe(self, keyframe: Keyframe) -> None:
        if keyframe.arrival < self._since:  # somebody else had asked for it
            self._request_keyframe()
            return
        self._fulfilled += 1
        self._request = None
        due_ms = self._clock.utc_ms(self._due)
        self._go_on()
        if self._to_skip:
            self._to_skip -= 1
            self._miss(due_ms, PictureMissing.LOST)
            return
        details = self._describe(keyframe, due_ms)
        self._last = keyframe
        on_picture = partial(self._on_picture, keyframe, self._origin, due_ms, details)
        if not self._pool.encode(keyframe, self._image_format, on_picture):
            self._miss(due_ms, PictureMissing.POOL_FULL)

    def _on_picture(
        self,
        keyframe: Keyframe,
        origin: SliceOrigin,
        due_ms: int,
        details: Details,
        result: Picture | PictureError,
    ) -> None:
        if isinstance(result, PictureError):
            self._on_error(keyframe, due_ms, result)
            return
        self._deaths = 0
        self._counters.pictures += 1
        start_ms = self._clock.utc_ms(keyframe.arrival)
        told = {"width": result.width, "height": result.height, **details}
        note = to_note({"start-ms": start_ms, **told})
        data = with_note(result.data, ImageFormat(origin.extension), note)
        self._store.put(origin, start_ms, data, told)

    def _describe(self, keyframe: Keyframe, due_ms: int) -> Details:
        """What is known of a key frame's picture before it is made."""
        age_ms = due_ms - self._clock.utc_ms(keyframe.arrival)
        return {
            "due-ms": due_ms,
            **({"age-ms": age_ms} if age_ms > _AGE_TOLD_MS else {}),
            **({"same-as-before": 1} if keyframe is self._last else {}),
            "codec": CATALOG.name_of(keyframe.decoding),
            "rotation": keyframe.rotation,
            **self._track.describe(keyframe),
        }

    def _on_error(self, keyframe: Keyframe, due_ms: int, error: PictureError) -> None:
        message, reason = "key frame not decodable", PictureMissing.UNDECODABLE
        if isinstance(error, PictureLostError):
            message, reason = "picture lost", PictureMissing.LOST
        self._miss(due_ms, reason)
        if isinstance(error, DeadlyKeyframeError):
            self._deaths += 1
            self._to_skip = min(2**self._deaths - 1, _MOST_TO_SKIP)
        _log.warning(
            message,
            user_id=self._origin.user_id,
            codec=keyframe.decoding.decoder,
            reason=str(error),
        )
