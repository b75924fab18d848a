"""Who is in a LiveKit room and what they publish, as its signalling tells it.

1. A member's microphone is its audio, its camera its video, its screen share its second video. What
   says of no source what it is counts as microphone or camera. A screen share's sound is taken only
   of a member that publishes no microphone.
2. Of several tracks of one source the first one counts that is not muted.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from livekit.protocol import models

_AUDIO_SOURCES = (
    (models.TrackSource.MICROPHONE, models.TrackSource.UNKNOWN),
    (models.TrackSource.SCREEN_SHARE_AUDIO,),
)
"""Those of one row are as good as each other; a row counts if there is none of those before."""
_VIDEO_SOURCES = ((models.TrackSource.CAMERA, models.TrackSource.UNKNOWN),)
_AUX_SOURCES = ((models.TrackSource.SCREEN_SHARE,),)

_Sources = tuple[tuple[models.TrackSource, ...], ...]


@dataclass(frozen=True, slots=True)
class Published:
    """What a member publishes of one kind."""

    sid: str
    """The track's name: unique on the server."""
    is_muted: bool
    mime_type: str
    encryption: models.Encryption.Type
    """From end to end."""
    layered_size: tuple[int, int] | None = None
    """Of a video in several layers: width and height of the largest one, as far as it is told."""


@dataclass(frozen=True, slots=True)
class PublishedTracks:
    """What a member publishes, muted or not."""

    audio: Published | None
    video: Published | None
    aux: Published | None

    def __iter__(self) -> Iterator[Published]:
        return (each for each in (self.audio, self.video, self.aux) if each is not None)


class LivekitMembers:
    """The members of one room."""

    def __init__(self) -> None:
        self._members: dict[str, models.ParticipantInfo] = {}
        """By identity."""

    def replace(self, infos: Iterable[models.ParticipantInfo]) -> None:
        """These are all that there are."""
        self._members.clear()
        self.update(infos)

    def update(self, infos: Iterable[models.ParticipantInfo]) -> None:
        """Something of these members is new. What is older than what is known is passed over."""
        for info in infos:
            known = self._members.get(info.identity)
            if known is not None and known.sid == info.sid and info.version < known.version:
                continue
            if info.state != models.ParticipantInfo.State.DISCONNECTED:
                self._members[info.identity] = info
            elif known is None or known.sid == info.sid:
                # Else a former stay of somebody who has come back already.
                self._members.pop(info.identity, None)

    @property
    def published(self) -> Mapping[str, PublishedTracks]:
        """By identity, what each member publishes; nothing of those who publish nothing."""
        found = {identity: _published(info) for identity, info in self._members.items()}
        return {identity: tracks for identity, tracks in found.items() if any(tracks)}


def _published(info: models.ParticipantInfo) -> PublishedTracks:
    audio = [each for each in info.tracks if each.type == models.TrackType.AUDIO]
    video = [each for each in info.tracks if each.type == models.TrackType.VIDEO]
    return PublishedTracks(
        _choose(audio, _AUDIO_SOURCES),
        _choose(video, _VIDEO_SOURCES),
        _choose(video, _AUX_SOURCES),
    )


def _choose(tracks: Iterable[models.TrackInfo], rows: _Sources) -> Published | None:
    for sources in rows:
        found = [each for each in tracks if each.source in sources]
        if found:
            chosen = next((each for each in found if not each.muted), found[0])
            return Published(
                chosen.sid,
                chosen.muted,
                chosen.mime_type,
                chosen.encryption,
                (chosen.width, chosen.height) if len(chosen.layers) > 1 else None,
            )
    return None
