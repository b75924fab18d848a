"""What requests with well-formed parameters ask for, and the rules between their parameters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloudslice.api.errors import Phrase, out_of_range
from cloudslice.api.parameters import STRING_ROOM_ID
from cloudslice.api.regions import storage_region
from cloudslice.ids import MAX_ROOM_NUMBER, RoomIdType, RoomKey, read_room_key
from cloudslice.settings.storage_settings import EndpointSettings
from cloudslice.slices import Bucket, Vendor
from cloudslice.slicing.params import (
    ImageFormat,
    ParamChanges,
    SliceParams,
    SubscriptionLists,
)
from cloudslice.tasks.model import TaskSpec

_NUMERIC_ROOM_RULE = Phrase(
    f"a decimal number from 1 to {MAX_ROOM_NUMBER} (for a string, set `RoomIdType` to 0)",
    f" 1 到 {MAX_ROOM_NUMBER} 的十进制数（字符串房间号请将 `RoomIdType` 设为 0）",
)

_BUCKETS = {
    Vendor.COS: (
        re.compile(r"(?=.{1,60}$)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?-[0-9]{5,}", re.ASCII),
        Phrase("the full name of a COS bucket, `name-APPID`", "完整的 COS 存储桶名称 `name-APPID`"),
    ),
    Vendor.S3: (
        re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII),
        Phrase(
            "3 to 63 of: small letters, digits, . and -, with a letter or digit at both ends",
            " 3 到 63 个字符，可用小写字母、数字、. 和 -，首尾为字母或数字",
        ),
    ),
    Vendor.OSS: (
        re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]", re.ASCII),
        Phrase(
            "3 to 63 of: small letters, digits and -, with a letter or digit at both ends",
            " 3 到 63 个字符，可用小写字母、数字和 -，首尾为字母或数字",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """Describe or delete a task."""

    sdk_app_id: int
    task_id: str


@dataclass(frozen=True, slots=True)
class ModifyRequest:
    """Replace a task's lists, unless they are None, and some of its parameters."""

    sdk_app_id: int
    task_id: str
    lists: SubscriptionLists | None
    changes: ParamChanges


@dataclass(frozen=True, slots=True)
class RoomRequest:
    """Dismiss a room, or put these users out of it."""

    room: RoomKey
    user_ids: tuple[str, ...] = ()


def parse_create(values: Mapping[str, Any], endpoints: EndpointSettings) -> TaskSpec:
    """What values that fit `CREATE` ask for.

    Raises:
        ApiError: a value does not fit another one.
    """
    slicing = values["SliceParams"]
    return TaskSpec(
        room=_parse_room(values["SdkAppId"], values["RoomId"], RoomIdType(values["RoomIdType"])),
        robot_user_id=values["UserId"],
        user_sig=values["UserSig"],
        private_map_key=values.get("PrivateMapKey"),
        slicing=replace(SliceParams(audio=True, video=True), **_parse_slicing(slicing)),
        lists=_parse_lists(
            slicing.get("SubscribeStreamUserIds", {}), "SliceParams.SubscribeStreamUserIds"
        ),
        bucket=parse_bucket(values["SliceStorageParams"]["CloudSliceStorage"], endpoints),
        resource_expired_hours=values["ResourceExpiredHour"],
    )


def parse_task(values: Mapping[str, Any]) -> TaskRequest:
    """What values that fit `TASK` ask for."""
    return TaskRequest(values["SdkAppId"], values["TaskId"])


def parse_modify(values: Mapping[str, Any]) -> ModifyRequest:
    """What values that fit `MODIFY` ask for.

    Raises:
        ApiError: both lists of one medium hold entries.
    """
    name = "SubscribeStreamUserIds"
    lists = _parse_lists(values[name], name) if name in values else None
    changes = _parse_slicing(values.get("SliceParams", {}))
    return ModifyRequest(values["SdkAppId"], values["TaskId"], lists, changes)


def parse_numeric_room(values: Mapping[str, Any]) -> RoomRequest:
    """What values that fit `REMOVE_USER` or `DISMISS_ROOM` ask for."""
    room = RoomKey(values["SdkAppId"], str(values["RoomId"]), RoomIdType.NUMBER)
    return RoomRequest(room, tuple(values.get("UserIds", ())))


def parse_string_room(values: Mapping[str, Any]) -> RoomRequest:
    """What values that fit the actions `...ByStrRoomId` ask for."""
    room = RoomKey(values["SdkAppId"], values["RoomId"], RoomIdType.STRING)
    return RoomRequest(room, tuple(values.get("UserIds", ())))


def _parse_room(sdk_app_id: int, room_id: str, room_id_type: RoomIdType) -> RoomKey:
    room = read_room_key(sdk_app_id, room_id, room_id_type)
    if room is None:
        is_text = room_id_type is RoomIdType.STRING
        raise out_of_range("RoomId", STRING_ROOM_ID.rule if is_text else _NUMERIC_ROOM_RULE)
    return room


def _parse_slicing(values: Mapping[str, Any]) -> ParamChanges:
    """The members of SliceParams that are given, but for lists."""
    changes = ParamChanges()
    if "SliceType" in values:
        changes["audio"] = values["SliceType"] in (1, 3)
        changes["video"] = values["SliceType"] in (2, 3)
    if "MaxIdleTime" in values:
        changes["max_idle_s"] = values["MaxIdleTime"]
    if "SliceAudio" in values:
        changes["audio_slice_s"] = values["SliceAudio"]
    if "SliceVideo" in values:
        changes["video_interval_s"] = values["SliceVideo"]
    if "SliceImageType" in values:
        changes["image_format"] = (ImageFormat.PNG, ImageFormat.JPG)[values["SliceImageType"]]
    return changes


def _parse_lists(values: Mapping[str, Any], name: str) -> SubscriptionLists:
    for medium in ("Audio", "Video"):
        allow, block = f"Subscribe{medium}UserIds", f"UnSubscribe{medium}UserIds"
        if values.get(allow) and values.get(block):
            rule = Phrase(f"empty where `{allow}` is not", f"空列表，因为 `{allow}` 不为空")
            raise out_of_range(f"{name}.{block}", rule)
    return SubscriptionLists(
        audio_allow=tuple(values.get("SubscribeAudioUserIds", ())),
        audio_block=tuple(values.get("UnSubscribeAudioUserIds", ())),
        video_allow=tuple(values.get("SubscribeVideoUserIds", ())),
        video_block=tuple(values.get("UnSubscribeVideoUserIds", ())),
    )


def parse_bucket(values: Mapping[str, Any], endpoints: EndpointSettings) -> Bucket:
    """The bucket of values that fit CloudSliceStorage.

    Raises:
        ApiError: there can be no such bucket.
    """
    place = "SliceStorageParams.CloudSliceStorage"
    vendor = Vendor(values["Vendor"])
    pattern, rule = _BUCKETS[vendor]
    if not pattern.fullmatch(values["Bucket"]):
        raise out_of_range(f"{place}.Bucket", rule)
    return Bucket(
        vendor=vendor,
        region=storage_region(f"{place}.Region", vendor, values["Region"], endpoints),
        name=values["Bucket"],
        access_key=values["AccessKey"],
        secret_key=values["SecretKey"],
        prefix=tuple(values.get("FileNamePrefix", ())),
    )
