"""One task's member in its room: slices the anchors that are subscribed to."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from cloudslice.clock import Clock
from cloudslice.delivery.model import SliceKind, SliceOrigin, SliceStore
from cloudslice.media.tracks import AudioTrack, OpusRun
from cloudslice.rooms.base import Anchor, LeaveCode
from cloudslice.slicing.audio.slicer import AudioSlicer
from cloudslice.slicing.counters import SlicingCounters
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.slicing.pictures.due_times import DueTimes
from cloudslice.slicing.pictures.grabber import FrameGrabber
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.pictures.track_choice import PictureTrack
from cloudslice.slicing.subscription import AnchorPlaces, is_subscribed


@dataclass(eq=False, slots=True)
class _SlicedAudio:
    """An AudioSink that hears what arrived from `since` on: a packet may have waited, for one that
    is missing, since before the anchor was subscribed to."""

    track: AudioTrack
    slicer: AudioSlicer
    since: float

    def on_opus(self, run: OpusRun) -> None:
        if run.arrival >= self.since:
            self.slicer.on_opus(run)

    def on_restart(self) -> None:
        self.slicer.on_restart()

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        self.slicer.on_sender_time(timestamp, utc_ms)


@dataclass(slots=True)
class _SlicedVideo:
    anchor: Anchor
    choice: PictureTrack
    grabber: FrameGrabber


class Robot:
    """A `RoomListener` that keeps a slicer on every subscribed audio track and a grabber on every
    subscribed video track, whatever comes, goes or is said in the lists.

    It has neither task nor timer of its own: `tick` is called for it. All calls are made on the
    event loop.

    Attributes:
        counters: what it made and left out.
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
        on_finished: Callable[[LeaveCode], None],
    ) -> None:
        """The idle clock starts at once.

        Args:
            on_finished: called once when the robot is done by itself: no anchor for
                `max_idle_s`, or evicted. All slices are closed by then.
        """
        self.counters = SlicingCounters()
        self._task_id = task_id
        self._params = params
        self._lists = lists
        self._store = store
        self._pictures = pictures
        self._due_times = due_times
        self._clock = clock
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

    def set_lists(self, lists: SubscriptionLists, since: float = -inf) -> None:
        """Subscribe by other lists from now on, on running streams too.

        Args:
            since: monotonic second; what arrived before it of somebody who was not subscribed to
                is not sliced.
        """
        self._lists = lists
        self._since = since
        self._reconcile()

    def tick(self, now: float) -> None:
        """Do what is due at monotonic second `now`; to be called on each tick."""
        for audio in self._audio.values():
            audio.slicer.tick(now)
        for video in self._video.values():
            video.grabber.follow(video.choice.update(now))
            video.grabber.tick(now)
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
        self._reconcile()
        if not self._anchors:
            self._idle_since = self._clock.monotonic()

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
        for user_id in [*self._audio]:
            if user_id not in served or self._audio[user_id].track is not audio.get(user_id):
                self._stop_audio(user_id)
        for user_id in [*self._video]:
            if user_id not in served or self._video[user_id].anchor is not video.get(user_id):
                self._stop_video(user_id)
        for user_id, audio_track in audio.items():
            if user_id in served and user_id not in self._audio:
                self._start_audio(user_id, audio_track)
        for user_id, anchor in video.items():
            if user_id in self._video:
                self._update_video(self._video[user_id])
            elif user_id in served:
                self._start_video(anchor)

    def _wanted_audio(self) -> dict[str, AudioTrack]:
        if not self._params.audio:
            return {}
        allow, block = self._lists.audio_allow, self._lists.audio_block
        return {
            user_id: anchor.audio
            for user_id, anchor in self._anchors.items()
            if anchor.audio is not None
            and is_subscribed(user_id, allow=allow, block=block, present=self._anchors)
        }

    def _wanted_video(self) -> dict[str, Anchor]:
        if not self._params.video:
            return {}
        allow, block = self._lists.video_allow, self._lists.video_block
        return {
            user_id: anchor
            for user_id, anchor in self._anchors.items()
            if (anchor.video is not None or anchor.aux is not None)
            and is_subscribed(user_id, allow=allow, block=block, present=self._anchors)
        }

    def _start_audio(self, user_id: str, track: AudioTrack) -> None:
        slicer = AudioSlicer(
            SliceOrigin(self._task_id, user_id, SliceKind.AUDIO, "ogg"),
            self._store,
            self._clock,
            self._params.audio_slice_s,
            self.counters,
        )
        self._audio[user_id] = audio = _SlicedAudio(track, slicer, self._since)
        track.add_sink(audio)

    def _stop_audio(self, user_id: str) -> None:
        audio = self._audio.pop(user_id)
        audio.track.remove_sink(audio)
        audio.slicer.close()

    def _start_video(self, anchor: Anchor) -> None:
        image_format = self._params.image_format
        choice = PictureTrack(anchor.video, anchor.aux, self._clock.monotonic())
        grabber = FrameGrabber(
            choice.track,
            SliceOrigin(self._task_id, anchor.user_id, SliceKind.IMAGE, image_format.value),
            self._store,
            self._pictures,
            self._due_times,
            self._clock,
            interval_s=self._params.video_interval_s,
            image_format=image_format,
            counters=self.counters,
            since=self._since,
        )
        self._video[anchor.user_id] = _SlicedVideo(anchor, choice, grabber)

    def _update_video(self, video: _SlicedVideo) -> None:
        """Its tracks may be others now; its pictures' due times go on."""
        anchor, choice = video.anchor, video.choice
        if anchor.video is not choice.main or anchor.aux is not choice.screen:
            video.choice = PictureTrack(anchor.video, anchor.aux, self._clock.monotonic())
            video.grabber.follow(video.choice.track)

    def _stop_video(self, user_id: str) -> None:
        self._video.pop(user_id).grabber.close()
