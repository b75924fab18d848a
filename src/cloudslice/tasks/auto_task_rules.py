"""The rules by which tasks begin without a call: for which rooms, and what they are like."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import translate

from cloudslice.config import AppSettings
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.settings.auto_task_settings import AutoTaskSettings
from cloudslice.slices import Bucket
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.tasks.model import TaskSpec

_TEN_YEARS_H = 87_600
"""A task lasts as long as its room: no UserSig and no ResourceExpiredHour is to run out before."""
_TYPES = {
    "any": frozenset(RoomIdType),
    "string": frozenset({RoomIdType.STRING}),
    "number": frozenset({RoomIdType.NUMBER}),
}


@dataclass(frozen=True, slots=True)
class AutoTaskRule:
    """One rule of an app."""

    app: AppSettings
    pattern: re.Pattern[str]
    types: frozenset[RoomIdType]
    robot_user_id: str
    """Whose tasks are the rule's, whoever has made them."""
    slicing: SliceParams
    lists: SubscriptionLists
    bucket: Bucket

    @classmethod
    def make(cls, app: AppSettings, settings: AutoTaskSettings, bucket: Bucket) -> "AutoTaskRule":
        """The rule that the settings have.

        Args:
            bucket: what `settings.storage` means.
        """
        types = _TYPES[settings.room_id_type]
        if app.rooms != "builtin" and settings.room_id_type == "any":
            types = _TYPES["string"]  # their names have no type, and there is to be one task
        return cls(
            app,
            re.compile(translate(settings.rooms)),
            types,
            settings.user_id,
            SliceParams(
                settings.audio,
                settings.video,
                settings.max_idle_s,
                settings.audio_slice_s,
                settings.video_interval_s,
                ImageFormat(settings.image_format),
            ),
            SubscriptionLists(
                settings.audio_allow,
                settings.audio_block,
                settings.video_allow,
                settings.video_block,
            ),
            bucket,
        )

    def matches(self, room: RoomKey) -> bool:
        """Whether a room is to have a task by this rule."""
        return (
            room.sdk_app_id == self.app.sdk_app_id
            and room.room_id_type in self.types
            and self.pattern.match(room.room_id) is not None
        )

    def make_spec(self, room: RoomKey, now_s: float) -> TaskSpec:
        """What a CreateCloudSliceTask for a room would ask for, at Unix second `now_s`."""
        user_sig = make_user_sig(
            self.app.secret_key.get_secret_value(),
            room.sdk_app_id,
            self.robot_user_id,
            now_s=now_s,
            lifetime_s=_TEN_YEARS_H * 3600,
        )
        return TaskSpec(
            room=room,
            robot_user_id=self.robot_user_id,
            user_sig=user_sig,
            private_map_key=None,
            slicing=self.slicing,
            lists=self.lists,
            bucket=self.bucket,
            resource_expired_hours=_TEN_YEARS_H,
            is_of_rule=True,
        )


def wanted_types(rules: Iterable[AutoTaskRule], sdk_app_id: int) -> frozenset[RoomIdType]:
    """Of which types the rooms of an app are to be told."""
    types = (rule.types for rule in rules if rule.app.sdk_app_id == sdk_app_id)
    return frozenset().union(*types)
