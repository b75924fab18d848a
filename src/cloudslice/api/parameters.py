"""The parameters of every action, as data: the checks and the documentation
are both made of them."""

import re
from dataclasses import replace

from cloudslice import ids
from cloudslice.api.errors import Code, Phrase
from cloudslice.api.schema import Integer, Object, Parameter, Text, TextList

STRING_ROOM_ID = Text(
    pattern=ids.STRING_ROOM_ID,
    rule=Phrase(
        "1 to 64 of: letters, digits, space and !#$%&()+-:;<=.>?@[]^_{{}}|~, (but not `.` or `..`)",
        " 1 到 64 个字符，可用字母、数字、空格及 !#$%&()+-:;<=.>?@[]^_{{}}|~,"
        "（不能是 `.` 或 `..`）",
    ),
)
_USER_ID = Text(
    pattern=ids.USER_ID,
    rule=Phrase("1 to 32 of: letters, digits, _ and -", " 1 到 32 个字符，可用字母、数字、_ 和 -"),
)
_PREFIX_SEGMENT = Text(
    pattern=re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII),
    rule=Phrase("1 to 64 of: letters, digits, _ and -", " 1 到 64 个字符，可用字母、数字、_ 和 -"),
)
_LIST_ENTRY = Text(
    pattern=re.compile("(?s).+"),
    max_bytes=64,
    rule=Phrase("1 to 64 bytes long", " 1 到 64 字节"),
)
_REMOVED_USER_ID = Text(
    pattern=re.compile("(?s).+"),
    max_bytes=32,
    rule=Phrase("1 to 32 bytes long", " 1 到 32 字节"),
)

_SDK_APP_ID = Parameter(
    name="SdkAppId",
    type=Integer(),
    missing=Code.MISSING_SDK_APP_ID,
    zero_is_absent=True,
    note="an app of the settings that the credential may use",
)
_TASK_ID = Parameter(
    name="TaskId",
    type=Text(),
    missing=Code.MISSING_TASK_ID,
    note="as CreateCloudSliceTask returned it; any other text is `ResourceNotFound`",
)


def _user_list(name: str, note: str) -> Parameter:
    return Parameter(name=name, type=TextList(_LIST_ENTRY, maximum=32), note=note)


_SUBSCRIPTION = Object(
    (
        _user_list("SubscribeAudioUserIds", "only these anchors' audio is sliced"),
        _user_list("UnSubscribeAudioUserIds", "not with `SubscribeAudioUserIds`: all but these"),
        _user_list("SubscribeVideoUserIds", "only these anchors' video is sliced"),
        _user_list("UnSubscribeVideoUserIds", "not with `SubscribeVideoUserIds`: all but these"),
    )
)

_SLICE_TYPE = Parameter(
    name="SliceType",
    type=Integer(1, 3),
    missing=Code.MISSING_SLICE_TYPE,
    note="1 audio, 2 pictures, 3 both",
)
_HOW_TO_SLICE = (
    Parameter(
        name="MaxIdleTime",
        type=Integer(5, 86400),
        default=30,
        note="seconds without an anchor after which the task ends",
    ),
    Parameter(
        name="SliceAudio", type=Integer(15, 60), default=15, note="seconds of an audio slice"
    ),
    Parameter(
        name="SliceVideo",
        type=Integer(5, 60),
        default=5,
        note="seconds from one picture to the next; the second one may come sooner",
    ),
    Parameter(name="SliceImageType", type=Integer(0, 1), default=0, note="0 PNG, 1 JPG"),
    Parameter(
        name="SliceCallbackUrl",
        type=Text(),
        note="accepted and ignored: the callback URL is a setting of the app",
    ),
)
_SLICE_PARAMS = Object(
    (
        _SLICE_TYPE,
        *_HOW_TO_SLICE,
        Parameter(
            name="SubscribeStreamUserIds",
            type=_SUBSCRIPTION,
            note="whom to slice; everybody if absent",
        ),
    )
)
_CHANGED_SLICE_PARAMS = Object(
    tuple(replace(each, missing=None, default=None) for each in (_SLICE_TYPE, *_HOW_TO_SLICE))
)

_CLOUD_SLICE_STORAGE = Object(
    (
        Parameter(
            name="Vendor",
            type=Integer(0, 2),
            missing=Code.MISSING_VENDOR,
            note="0 Tencent COS, 1 AWS S3, 2 Alibaba Cloud OSS",
        ),
        Parameter(
            name="Region",
            type=Text(),
            missing=Code.MISSING_REGION,
            note="a region of the vendor, else `InvalidParameter.OutOfRange`; any that fits into "
            "a host name where the settings have an endpoint for the vendor",
        ),
        Parameter(
            name="Bucket",
            type=Text(),
            missing=Code.MISSING_BUCKET,
            note="as the vendor allows names, else `InvalidParameter.OutOfRange`; COS: "
            "`name-APPID`",
        ),
        Parameter(
            name="AccessKey",
            type=Text(),
            missing=Code.MISSING_ACCESS_KEY,
            note="tried at the first upload: see events 1003 and 1006",
        ),
        Parameter(
            name="SecretKey",
            type=Text(),
            missing=Code.MISSING_SECRET_KEY,
            note="never logged, never returned, encrypted at rest",
        ),
        Parameter(
            name="FileNamePrefix",
            type=TextList(_PREFIX_SEGMENT, maximum=10),
            note="the leading segments of object keys",
        ),
    )
)

CREATE = Object(
    (
        _SDK_APP_ID,
        Parameter(
            name="RoomId",
            type=Text(),
            missing=Code.MISSING_ROOM_ID,
            note=f"`RoomIdType` 1: 1 to {ids.MAX_ROOM_NUMBER} in decimal; 0: up to 64 of the 89 "
            "characters of string rooms, but not `.` or `..`; else `InvalidParameter.OutOfRange`",
        ),
        Parameter(
            name="UserId", type=_USER_ID, missing=Code.MISSING_USER_ID, note="the robot's id"
        ),
        Parameter(
            name="UserSig",
            type=Text(),
            missing=Code.MISSING_USER_SIG,
            note="the robot's; `InvalidParameter.UserSig` if it proves nothing",
        ),
        Parameter(name="SliceParams", type=_SLICE_PARAMS, missing=Code.MISSING_SLICE_PARAMS),
        Parameter(
            name="SliceStorageParams",
            type=Object(
                (
                    Parameter(
                        name="CloudSliceStorage",
                        type=_CLOUD_SLICE_STORAGE,
                        missing=Code.MISSING_SLICE_STORAGE_PARAMS,
                    ),
                )
            ),
            missing=Code.MISSING_SLICE_STORAGE_PARAMS,
        ),
        Parameter(
            name="RoomIdType", type=Integer(0, 1), default=1, note="0 string, 1 32-bit number"
        ),
        Parameter(
            name="ResourceExpiredHour",
            type=Integer(6, 720),
            default=72,
            note="hours after which the task can no longer be described, modified or deleted",
        ),
        Parameter(
            name="PrivateMapKey",
            type=Text(),
            note="`FailedOperation` if it does not permit the slicing, or if the app demands one "
            "and it is absent",
        ),
    )
)

TASK = Object((_SDK_APP_ID, _TASK_ID))

MODIFY = Object(
    (
        _SDK_APP_ID,
        _TASK_ID,
        Parameter(
            name="SubscribeStreamUserIds",
            type=_SUBSCRIPTION,
            note="replaces all four lists, an absent one meaning no restriction; without the "
            "object nothing changes",
        ),
        Parameter(
            name="SliceParams",
            type=_CHANGED_SLICE_PARAMS,
            note="our extension: what is given is changed from the call on, what is absent stays",
        ),
    )
)

_ROOM_NUMBER = Parameter(
    name="RoomId",
    type=Integer(1, ids.MAX_ROOM_NUMBER),
    missing=Code.MISSING_ROOM_ID,
    out_of_range=Code.INVALID_ROOM_ID,
    note="a numeric room",
)
_ROOM_NAME = Parameter(
    name="RoomId",
    type=STRING_ROOM_ID,
    missing=Code.MISSING_ROOM_ID,
    out_of_range=Code.INVALID_ROOM_ID,
    note="a string room",
)
_USER_IDS = Parameter(
    name="UserIds",
    type=TextList(_REMOVED_USER_ID, minimum=1, maximum=10),
    missing=Code.MISSING_USER_IDS,
    out_of_range=Code.INVALID_USER_IDS,
    note="whom to put out; who is not in the room is ignored",
)

_ANY_NUMBER = Integer(0, 2**63 - 1)
_EVENT_STATE = Text(
    pattern=re.compile("waiting|delivered|given-up"),
    rule=Phrase("waiting, delivered or given-up", " waiting、delivered 或 given-up"),
)
_EVENTS = (
    _SDK_APP_ID,
    Parameter(name="EventId", type=_ANY_NUMBER, note="one event, as a list of events names it"),
    Parameter(name="TaskId", type=Text(), note="of one task; may have ended long ago"),
    Parameter(
        name="Since", type=_ANY_NUMBER, note="recorded at this time or later, UTC milliseconds"
    ),
    Parameter(name="EventType", type=_ANY_NUMBER, note="of one type, such as 1004"),
    Parameter(name="State", type=_EVENT_STATE, note="how far they have come"),
)

DESCRIBE_EVENTS = Object(
    (
        *_EVENTS,
        Parameter(
            name="Marker",
            type=_ANY_NUMBER,
            default=0,
            note="the `NextMarker` of the page before",
        ),
        Parameter(name="Limit", type=Integer(1, 100), default=20, note="events on a page"),
    )
)
REPLAY_EVENTS = Object(_EVENTS)

REMOVE_USER = Object((_SDK_APP_ID, _ROOM_NUMBER, _USER_IDS))
REMOVE_USER_BY_STR_ROOM_ID = Object((_SDK_APP_ID, _ROOM_NAME, _USER_IDS))
DISMISS_ROOM = Object((_SDK_APP_ID, _ROOM_NUMBER))
DISMISS_ROOM_BY_STR_ROOM_ID = Object((_SDK_APP_ID, _ROOM_NAME))
