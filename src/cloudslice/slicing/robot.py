"""One task's member in its room: slices the anchors that are subscribed to."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import NamedTuple, ParamSpec

from cloudslice.clock import Clock
from cloudslice.events import AudioGap, PictureNotTaken
from cloudslice.faults import Faults
from cloudslice.media.tracks import AudioTrack
from cloudslice.rooms.base import Anchor, LeaveCode
from cloudslice.slices import SliceKind, SliceOrigin
from cloudslice.slicing.audio.slicer import AudioSlicer
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.grabber import FrameGrabber
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.pictures.track_choice import PictureTrack
from cloudslice.slicing.slice_store import SliceStore
from cloudslice.slicing.subscription import AnchorPlaces, is_subscribed

P = ParamSpec("P")


class _SlicedAudio(NamedTuple):
    track: AudioTrack
    slicer: AudioSlicer


@dataclass(slots=True)
class _SlicedVideo:
    anchor: Anchor
    choice: PictureTrack
    grabber: FrameGrabber

    def tick(self, now: float) -> None:
        self.grabber.follow(self.choice.update(now))
        self.grabber.tick(now)


class Robot:
    """A `RoomListener` that keeps a slicer on every subscribed audio track and a grabber on every
    subscribed video track, whatever comes, goes or is said in the lists.

    It has neither task nor timer of its own: `tick` is called for it. All calls are made on the
    event loop.

    An unforeseen error in slicing one anchor is counted and logged. It neither reaches the other
    anchors nor the caller.
    """

    def __init__(
        self,
        task_id: str,
        params: SliceParams,
        lists: SubscriptionLists,
        *,
        store: SliceStore,
        pictures: PicturePool,
        due_times: DueTimes,
        clock: Clock,
        max_anchors: int,
        counters: SlicingCounters,
        publish: Callable[[AudioGap | PictureNotTaken], object],
        faults: Faults,
        on_finished: Callable[[LeaveCode], None],
    ) -> None:
        """The idle clock starts at once.

        Args:
            counters: what it makes and leaves out is counted there.
            publish: is told of gaps, and of pictures that are not taken.
            faults: takes the unforeseen errors.
            on_finished: called once when the robot is done by itself: no anchor for
                `max_idle_s`, or evicted. All slices are closed by then.
        """
        self._counters = counters
        self._publish = publish
        self._task_id = task_id
        self._params = params
        self._lists = lists
        self._store = store
        self._pictures = pictures
        self._due_times = due_times
        self._clock = clock
        self._faults = faults
        self._on_finished = on_finished
        self._places = AnchorPlaces(max_anchors)
        self._anchors: dict[str, Anchor] = {}
        """By user id, in the order in which they came."""
        self._audio: dict[str, _SlicedAudio] = {}
        self._video: dict[str, _SlicedVideo] = {}
        self._since = clock.monotonic()
        """What arrived before that, of those who are subscribed to later, is not sliced."""
        self._idle_since: float | None = self._since
        self._stopped = False

    @property
    def is_slicing(self) -> bool:
        """Whether a subscribed stream arrives: InProgress, else the task is Idle."""
        return any(audio.slicer.slicing for audio in self._audio.values()) or any(
            video.choice.flowing for video in self._video.values()
        )

    @property
    def lists(self) -> SubscriptionLists:
        """What it subscribes by."""
        return self._lists

    @property
    def params(self) -> SliceParams:
        """How it slices."""
        return self._params

    def set_params(self, params: SliceParams, since: float = -inf) -> None:
        """Slice by other parameters from now on, on running streams too.

        An audio slice under way ends at its old length. Pictures follow the new interval at once.

        Args:
            since: monotonic second; what arrived before it of a medium that was not sliced is not
                sliced.
        """
        self._params = params
        for user_id, audio in self._audio.items():
            self._fenced(user_id, audio.slicer.set_length, params.audio_slice_s)
        for user_id, video in self._video.items():
            self._fenced(
                user_id, video.grabber.change, params.video_interval_s, params.image_format
            )
        self._since = since
        self._reconcile()

    def set_lists(self, lists: SubscriptionLists, since: float = -inf) -> None:
        """Subscribe by other lists from now on, on running streams too.

        Args:
            since: monotonic second; what arrived before it of somebody who was not subscribed to
                is not sliced.
        """
        self._lists = lists
        self._since = since
        self._reconcile()

    def hold_idle_clock(self) -> None:
        """Do not count as idle before `start_idle_clock`: outside of the room nobody is seen."""
        self._idle_since = None

    def start_idle_clock(self) -> None:
        """The robot is in its room: if no anchor is there, it is idle from now on."""
        if not self._anchors and not self._stopped:
            self._idle_since = self._clock.monotonic()

    def tick(self, now: float) -> None:
        """Do what is due at monotonic second `now`; to be called on each tick."""
        for user_id, audio in self._audio.items():
            self._fenced(user_id, audio.slicer.tick, now)
        for user_id, video in self._video.items():
            self._fenced(user_id, video.tick, now)
        if self._idle_since is not None and now - self._idle_since >= self._params.max_idle_s:
            self._finish(LeaveCode.IDLE)

    def stop(self) -> None:
        """Close all slices and hear nothing more. Harmless when stopped already."""
        self._stopped = True
        self._idle_since = None
        self._anchors.clear()
        self._reconcile()

    def on_anchor_joined(self, anchor: Anchor) -> None:
        """See `RoomListener`. Who joins under an id that is there replaces its older self."""
        self._put(anchor)

    def on_anchor_changed(self, anchor: Anchor) -> None:
        """See `RoomListener`."""
        self._put(anchor)

    def on_anchor_left(self, anchor: Anchor) -> None:
        """See `RoomListener`."""
        if self._anchors.get(anchor.user_id) is not anchor:
            return  # replaced by its newer self already
        del self._anchors[anchor.user_id]
        if not self._anchors:
            self._idle_since = self._clock.monotonic()
        self._reconcile()

    def on_evicted(self, code: LeaveCode) -> None:
        """See `RoomListener`."""
        self._finish(code)

    def _finish(self, code: LeaveCode) -> None:
        if not self._stopped:
            self.stop()
            self._on_finished(code)

    def _put(self, anchor: Anchor) -> None:
        if self._stopped:
            return
        self._anchors[anchor.user_id] = anchor
        self._idle_since = None
        self._reconcile()

    def _reconcile(self) -> None:
        """Make what is sliced what is wanted."""
        audio, video = self._wanted_audio(), self._wanted_video()
        wanting = (user_id for user_id in self._anchors if user_id in audio or user_id in video)
        served = self._places.update(wanting)
        self._stop_audio(
            user_id
            for user_id, each in self._audio.items()
            if user_id not in served or each.track is not audio.get(user_id)
        )
        self._stop_video(
            user_id
            for user_id, each in self._video.items()
            if user_id not in served or each.anchor is not video.get(user_id)
        )
        for user_id, audio_track in audio.items():
            if user_id in served and user_id not in self._audio:
                self._fenced(user_id, self._start_audio, self._anchors[user_id], audio_track)
        for user_id, anchor in video.items():
            if user_id in self._video:
                self._fenced(user_id, self._update_video, self._video[user_id])
            elif user_id in served:
                self._fenced(user_id, self._start_video, anchor)

    def _wanted_audio(self) -> dict[str, AudioTrack]:
        allow, block = self._lists.audio_allow, self._lists.audio_block
        subscribed = self._subscribed(allow, block) if self._params.audio else ()
        return {each.user_id: each.audio for each in subscribed if each.audio is not None}

    def _wanted_video(self) -> dict[str, Anchor]:
        allow, block = self._lists.video_allow, self._lists.video_block
        subscribed = self._subscribed(allow, block) if self._params.video else ()
        return {each.user_id: each for each in subscribed if (each.video or each.aux) is not None}

    def _subscribed(self, allow: Collection[str], block: Collection[str]) -> Iterator[Anchor]:
        for user_id, anchor in self._anchors.items():
            if is_subscribed(user_id, allow=allow, block=block, present=self._anchors):
                yield anchor

    def _start_audio(self, anchor: Anchor, track: AudioTrack) -> None:
        slicer = AudioSlicer(
            self._origin(anchor, SliceKind.AUDIO, "ogg"),
            self._store,
            self._clock,
            self._params.audio_slice_s,
            self._counters,
            self._publish,
            since=self._since,
        )
        self._audio[anchor.user_id] = _SlicedAudio(track, slicer)
        track.add_sink(slicer)

    def _stop_audio(self, user_ids: Iterable[str]) -> None:
        for user_id in list(user_ids):
            track, slicer = self._audio.pop(user_id)
            self._fenced(user_id, track.remove_sink, slicer)
            self._fenced(user_id, slicer.close)

    def _start_video(self, anchor: Anchor) -> None:
        image_format = self._params.image_format
        choice = PictureTrack(anchor.video, anchor.aux, self._clock.monotonic())
        grabber = FrameGrabber(
            choice.track,
            self._origin(anchor, SliceKind.IMAGE, image_format.value),
            self._store,
            self._pictures,
            self._due_times,
            self._clock,
            interval_s=self._params.video_interval_s,
            image_format=image_format,
            counters=self._counters,
            publish=self._publish,
            since=self._since,
        )
        self._video[anchor.user_id] = _SlicedVideo(anchor, choice, grabber)

    def _origin(self, anchor: Anchor, kind: SliceKind, extension: str) -> SliceOrigin:
        return SliceOrigin(self._task_id, anchor.user_id, kind, extension, anchor.identity)

    def _update_video(self, video: _SlicedVideo) -> None:
        """Its tracks may be others now; its pictures' due times go on."""
        anchor, choice = video.anchor, video.choice
        if anchor.video is not choice.main or anchor.aux is not choice.screen:
            video.choice = PictureTrack(anchor.video, anchor.aux, self._clock.monotonic())
            video.grabber.follow(video.choice.track)

    def _stop_video(self, user_ids: Iterable[str]) -> None:
        for user_id in list(user_ids):
            self._fenced(user_id, self._video.pop(user_id).grabber.close)

    def _fenced(
        self, user_id: str, step: Callable[P, object], *arguments: P.args, **named: P.kwargs
    ) -> None:
        """Do one anchor's step. Whatever it raises, the other anchors have theirs."""
        try:
            step(*arguments, **named)
        except Exception as error:
            self._faults.caught(error, task_id=self._task_id, user_id=user_id)
