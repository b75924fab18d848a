"""CreateCloudSliceTask: what is required, types, ranges; one change to a valid call at a time."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.slices import Bucket, Vendor
from cloudslice.slicing.params import ImageFormat, SliceParams, SubscriptionLists
from cloudslice.tasks.model import (
    RobotIdTakenError,
    RoomRefusedError,
    SpoolFullError,
    TaskError,
    TaskSpec,
    TooManyTasksError,
)
from helpers.api_calls import ABSENT, LISTS, STORAGE, altered, create
from helpers.api_fakes import APP, ROBOT, TASK_ID, GatewayBench, create_parameters, user_sig


async def test_a_valid_call_starts_the_task_it_describes(bench: GatewayBench) -> None:
    answer = await create(bench, create_parameters())
    assert answer.body.keys() == {"TaskId", "RequestId"}
    assert answer.body["TaskId"] == TASK_ID
    assert bench.tasks.created == [
        TaskSpec(
            room=RoomKey(APP, "150", RoomIdType.NUMBER),
            robot_user_id=ROBOT,
            user_sig=user_sig(),
            private_map_key=None,
            slicing=SliceParams(audio=True, video=True),
            lists=SubscriptionLists(),
            bucket=Bucket(
                vendor=Vendor.COS,
                region="ap-guangzhou",
                name="demo-1250000000",
                access_key="AKIDSTORAGE",
                secret_key="StorageSecretKey",
                prefix=("prefix1",),
            ),
            resource_expired_hours=72,
        )
    ]


async def test_what_is_left_out_has_its_default(bench: GatewayBench) -> None:
    """Absent and null are the same."""
    full = create_parameters()
    for nothing in (ABSENT, None):
        parameters = copy.deepcopy(full)
        storage = parameters["SliceStorageParams"]["CloudSliceStorage"]
        optional = {"MaxIdleTime", "SliceAudio", "SliceVideo", "SliceImageType", "SliceCallbackUrl"}
        for place, names in (
            (parameters, {"RoomIdType", "ResourceExpiredHour", "PrivateMapKey"}),
            (parameters["SliceParams"], optional | {"SubscribeStreamUserIds"}),
            (storage, {"FileNamePrefix"}),
        ):
            for name in names:
                place.pop(name, None)
                if nothing is None:
                    place[name] = None
        assert (await create(bench, parameters)).code is None
    first, second = bench.tasks.created
    assert first == second
    assert first.room.room_id_type is RoomIdType.NUMBER
    assert first.slicing == SliceParams(
        audio=True,
        video=True,
        max_idle_s=30,
        audio_slice_s=15,
        video_interval_s=5,
        image_format=ImageFormat.PNG,
    )
    assert first.resource_expired_hours == 72
    assert first.bucket.prefix == ()


REQUIRED = [
    ("SdkAppId", "MissingParameter.SdkAppId"),
    ("RoomId", "MissingParameter.RoomId"),
    ("UserId", "MissingParameter.UserId"),
    ("UserSig", "MissingParameter.UserSig"),
    ("SliceParams", "MissingParameter.SliceParams"),
    ("SliceParams.SliceType", "MissingParameter.SliceType"),
    ("SliceStorageParams", "MissingParameter.SliceStorageParams"),
    (STORAGE, "MissingParameter.SliceStorageParams"),
    (f"{STORAGE}.Vendor", "MissingParameter.Vendor"),
    (f"{STORAGE}.Region", "MissingParameter.Region"),
    (f"{STORAGE}.Bucket", "MissingParameter.Bucket"),
    (f"{STORAGE}.AccessKey", "MissingParameter.AccessKey"),
    (f"{STORAGE}.SecretKey", "MissingParameter.SecretKey"),
]


@pytest.mark.parametrize(("path", "code"), REQUIRED, ids=[path for path, _ in REQUIRED])
@pytest.mark.parametrize("nothing", [ABSENT, None], ids=["absent", "null"])
async def test_a_required_parameter_is_missed_by_its_name(
    bench: GatewayBench, path: str, code: str, nothing: Any
) -> None:
    answer = await create(bench, altered(path, nothing))
    assert answer.code == code
    assert code.removeprefix("MissingParameter.") in answer.message


@pytest.mark.parametrize(
    ("path", "nothing", "code"),
    [
        pytest.param("SdkAppId", 0, "MissingParameter.SdkAppId", id="app-0"),
        pytest.param("RoomId", "", "MissingParameter.RoomId", id="empty-room"),
        pytest.param("UserId", "", "MissingParameter.UserId", id="empty-user"),
        pytest.param("UserSig", "", "MissingParameter.UserSig", id="empty-sig"),
        pytest.param("SliceParams", {}, "MissingParameter.SliceParams", id="empty-params"),
        pytest.param(
            "SliceParams", {"SliceType": None}, "MissingParameter.SliceType", id="only-nulls"
        ),
        pytest.param(
            "SliceStorageParams", {}, "MissingParameter.SliceStorageParams", id="empty-storage"
        ),
        pytest.param(STORAGE, {}, "MissingParameter.SliceStorageParams", id="empty-cloud-storage"),
        pytest.param(f"{STORAGE}.Region", "", "MissingParameter.Region", id="empty-region"),
        pytest.param(f"{STORAGE}.Bucket", "", "MissingParameter.Bucket", id="empty-bucket"),
        pytest.param(f"{STORAGE}.AccessKey", "", "MissingParameter.AccessKey", id="empty-access"),
        pytest.param(f"{STORAGE}.SecretKey", "", "MissingParameter.SecretKey", id="empty-secret"),
    ],
)
async def test_empty_is_absent(bench: GatewayBench, path: str, nothing: Any, code: str) -> None:
    assert (await create(bench, altered(path, nothing))).code == code


OUT_OF_RANGE = [
    ("RoomId", ["0", "4294967295", "-1", "+1", "1.0", " 1", "1e3", "room", "9" * 5000, "\u0661"]),
    ("UserId", ["a" * 33, "a b", "ü", "a.b", "a\n"]),
    ("SliceParams.SliceType", [0, 4, 2**64 - 1]),
    ("SliceParams.MaxIdleTime", [0, 4, 86401]),
    ("SliceParams.SliceAudio", [0, 14, 61]),
    ("SliceParams.SliceVideo", [0, 4, 61]),
    ("SliceParams.SliceImageType", [2]),
    (f"{STORAGE}.Vendor", [3]),
    (
        f"{STORAGE}.Region",
        ["nowhere", "us-east-1", "cn-shanghai-1", "ap-guangzhou.evil.com", "a/b"],
    ),
    (
        f"{STORAGE}.Bucket",
        ["demo", "Demo-1250000000", "a/b-1250000000", "-1250000000", "x-1250000000/"],
    ),
    (
        f"{STORAGE}.FileNamePrefix",
        [[""], ["a/b"], [".."], ["a" * 65], ["ü"], ["a"] * 11, ["a", "b c"]],
    ),
    ("RoomIdType", [2]),
    ("ResourceExpiredHour", [0, 5, 721]),
]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(path, value, id=f"{path}-{repr(value)[:24]}")
        for path, values in OUT_OF_RANGE
        for value in values
    ],
)
async def test_a_value_out_of_range_is_named(bench: GatewayBench, path: str, value: Any) -> None:
    answer = await create(bench, altered(path, value))
    assert answer.code == "InvalidParameter.OutOfRange"
    assert f"`{path}" in answer.message
    assert bench.tasks.created == []


IN_RANGE = [
    ("RoomId", ["1", "4294967294", "007"]),
    ("SliceParams.SliceType", [1, 2, 3]),
    ("SliceParams.MaxIdleTime", [5, 86400]),
    ("SliceParams.SliceAudio", [15, 60]),
    ("SliceParams.SliceVideo", [5, 60]),
    ("SliceParams.SliceImageType", [0, 1]),
    ("SliceParams.SliceCallbackUrl", ["https://example.com/old", ""]),
    (f"{STORAGE}.Region", ["eu-moscow", "ap-beijing-1", "ap-shanghai-fsi", "sa-newregion"]),
    (f"{STORAGE}.FileNamePrefix", [[], ["a"] * 10, ["a" * 64, "A-_9"]]),
    ("ResourceExpiredHour", [6, 720]),
    ("PrivateMapKey", [None, ""]),
]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(path, value, id=f"{path}-{repr(value)[:24]}")
        for path, values in IN_RANGE
        for value in values
    ],
)
async def test_a_value_at_the_edge_of_its_range_is_accepted(
    bench: GatewayBench, path: str, value: Any
) -> None:
    assert (await create(bench, altered(path, value))).code is None


async def test_values_mean_what_the_contract_says(bench: GatewayBench) -> None:
    for path, value in (
        ("SliceParams.SliceType", 1),
        ("SliceParams.SliceType", 2),
        ("SliceParams.SliceImageType", 1),
        ("RoomId", "007"),
    ):
        await create(bench, altered(path, value))
    audio, video, jpg, room = bench.tasks.created
    assert (audio.slicing.audio, audio.slicing.video) == (True, False)
    assert (video.slicing.audio, video.slicing.video) == (False, True)
    assert jpg.slicing.image_format is ImageFormat.JPG
    assert room.room == RoomKey(APP, "7", RoomIdType.NUMBER)


@pytest.mark.parametrize("room_id", [".", ".."])
async def test_rooms_that_no_url_can_name_are_refused(bench: GatewayBench, room_id: str) -> None:
    """Clients take them out of paths, so that nobody could come in by WHIP. The message says so."""
    answer = await create(bench, altered("RoomIdType", 0) | {"RoomId": room_id})
    assert answer.code == "InvalidParameter.OutOfRange"
    assert "(but not `.` or `..`)" in answer.message
    assert not bench.tasks.created


WRONG_TYPES = {
    "uint64": ["1", "", 1.0, 1.5, -1, 2**64, True, [], {}, [1]],
    "string": [1, 0, 1.5, True, False, [], ["a"], {}, {"a": 1}],
    "object": [1, "a", "", True, [], [{}]],
    "array of string": [1, "a", "", True, {}, {"0": "a"}],
}
TYPED = {
    "SdkAppId": "uint64",
    "RoomId": "string",
    "UserId": "string",
    "UserSig": "string",
    "SliceParams": "object",
    "SliceParams.SliceType": "uint64",
    "SliceParams.MaxIdleTime": "uint64",
    "SliceParams.SliceAudio": "uint64",
    "SliceParams.SliceVideo": "uint64",
    "SliceParams.SliceImageType": "uint64",
    "SliceParams.SliceCallbackUrl": "string",
    LISTS: "object",
    f"{LISTS}.SubscribeAudioUserIds": "array of string",
    f"{LISTS}.UnSubscribeAudioUserIds": "array of string",
    f"{LISTS}.SubscribeVideoUserIds": "array of string",
    f"{LISTS}.UnSubscribeVideoUserIds": "array of string",
    "SliceStorageParams": "object",
    STORAGE: "object",
    f"{STORAGE}.Vendor": "uint64",
    f"{STORAGE}.Region": "string",
    f"{STORAGE}.Bucket": "string",
    f"{STORAGE}.AccessKey": "string",
    f"{STORAGE}.SecretKey": "string",
    f"{STORAGE}.FileNamePrefix": "array of string",
    "RoomIdType": "uint64",
    "ResourceExpiredHour": "uint64",
    "PrivateMapKey": "string",
}


@pytest.mark.parametrize(
    ("path", "type_name", "value"),
    [
        pytest.param(path, type_name, value, id=f"{path}-{value!r}")
        for path, type_name in TYPED.items()
        for value in WRONG_TYPES[type_name]
    ],
)
async def test_a_wrong_type_is_named_with_the_right_one(
    bench: GatewayBench, path: str, type_name: str, value: Any
) -> None:
    """At any depth, before anything that is missing or out of range."""
    answer = await create(bench, altered(path, value) | {"UserId": None})
    if path == "UserId":
        answer = await create(bench, altered(path, value))
    assert answer.code == "InvalidParameter"
    assert answer.message == (
        f"The value type of parameter `{path}` is not valid, input type should be `{type_name}`."
    )


@pytest.mark.parametrize("entry", [1, None, True, ["a"], {"a": 1}], ids=repr)
async def test_a_wrong_type_in_a_list_is_named_by_its_index(
    bench: GatewayBench, entry: Any
) -> None:
    path = f"{LISTS}.SubscribeAudioUserIds"
    answer = await create(bench, altered(path, ["a", entry]))
    assert answer.code == "InvalidParameter"
    assert f"`{path}.1`" in answer.message


@pytest.mark.parametrize(
    "path",
    [
        "Extra",
        "sdkAppId",
        "SliceParams.Extra",
        f"{LISTS}.Extra",
        "SliceStorageParams.Extra",
        f"{STORAGE}.Extra",
    ],
)
async def test_an_unknown_name_is_refused_at_any_depth(bench: GatewayBench, path: str) -> None:
    """Even where another parameter has a wrong type."""
    answer = await create(bench, altered(path, 1) | {"RoomId": 5})
    assert answer.code == "UnknownParameter"
    assert f"`{path}`" in answer.message


async def test_a_long_unknown_name_is_not_sent_back_whole(bench: GatewayBench) -> None:
    answer = await create(bench, {"x" * 1_000_000: 1})
    assert answer.code == "UnknownParameter"
    assert len(answer.message) < 200


# State.


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (TooManyTasksError("500"), "FailedOperation.RestrictedConcurrency"),
        (RobotIdTakenError("a member is called so"), "FailedOperation"),
        (SpoolFullError("the spool is full"), "FailedOperation"),
        (TaskError("it does not work"), "FailedOperation"),
    ],
    ids=lambda case: type(case).__name__,
)
async def test_a_task_that_cannot_start_has_its_code(
    bench: GatewayBench, failure: TaskError, code: str
) -> None:
    """And a text that is wholly in the language that was asked for."""
    bench.tasks.failure = failure
    parameters = create_parameters()
    english = await bench.call("CreateCloudSliceTask", parameters)
    chinese = await bench.call("CreateCloudSliceTask", parameters, {"X-TC-Language": "zh-CN"})
    assert english.code == chinese.code == code
    assert english.message.isascii()
    if type(failure) is TaskError:
        assert str(failure) in english.message
    else:
        assert " is " not in chinese.message


@pytest.mark.parametrize(
    ("failure", "changes", "reason"),
    [
        (RoomRefusedError("the room cannot be entered: no"), {}, "the room cannot be entered: no"),
        (None, {"UserSig": "x"}, "`UserSig` is not valid: it cannot be decoded."),
    ],
)
async def test_why_a_task_is_refused_is_logged_once(
    bench: GatewayBench, failure: TaskError | None, changes: dict[str, str], reason: str
) -> None:
    """Who calls is often not who can mend it."""
    bench.tasks.failure = failure
    with capture_logs() as logs:
        await create(bench, create_parameters() | changes)
    assert [each["event"] for each in logs] == ["task is refused", "api call"]
    expected = {"log_level": "warning", "sdk_app_id": APP, "room_id": 150, "user_id": ROBOT}
    assert logs[0] == expected | {"event": "task is refused", "reason": reason}
    assert user_sig() not in repr(logs)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**65) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.dictionaries(st.sampled_from(sorted(TYPED)), JSON_VALUES, min_size=1, max_size=3))
async def test_whatever_the_values_the_answer_is_one_of_the_contracts(
    changes: dict[str, Any],
) -> None:
    """Success or a code for callers' faults, never an internal error."""
    bench = GatewayBench()
    parameters: Any = create_parameters()
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = parameters
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        if isinstance(place, dict):
            place[name] = value
    answer = await create(bench, parameters)
    assert answer.code is None or answer.code.startswith(
        ("InvalidParameter", "MissingParameter.", "UnknownParameter", "FailedOperation")
    )
    assert len(bench.tasks.created) == (answer.code is None)
