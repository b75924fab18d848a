"""Names in CreateCloudSliceTask: of rooms, buckets and the anchors in lists."""

import pytest

from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.slicing.params import SubscriptionLists
from helpers.api_calls import LISTS, STORAGE, altered, create
from helpers.api_fakes import APP, TASK_ID, GatewayBench, create_parameters, make_settings

STRING_ROOM_CHARACTERS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !#$%&()+-:;<=.>?@[]^_{}|~,"
)


# Room ids.


async def test_there_are_89_characters_for_string_rooms(bench: GatewayBench) -> None:
    """Every one of them, and no other printable one."""
    assert len(STRING_ROOM_CHARACTERS) == 89
    for start in (0, 64):
        room_id = STRING_ROOM_CHARACTERS[start : start + 64]
        answer = await create(bench, create_parameters() | {"RoomIdType": 0, "RoomId": room_id})
        assert answer.code is None
        assert bench.tasks.created[-1].room == RoomKey(APP, room_id, RoomIdType.STRING)
    others = {chr(code) for code in range(1, 256)} - set(STRING_ROOM_CHARACTERS)
    for character in sorted(others):
        bench.clock.now_s += 1
        answer = await create(bench, create_parameters() | {"RoomIdType": 0, "RoomId": character})
        assert answer.code == "InvalidParameter.OutOfRange", character


async def test_a_string_room_id_has_at_most_64_bytes(bench: GatewayBench) -> None:
    parameters = create_parameters() | {"RoomIdType": 0, "RoomId": "r" * 65}
    assert (await create(bench, parameters)).code == "InvalidParameter.OutOfRange"


async def test_the_number_and_the_string_are_two_rooms(bench: GatewayBench) -> None:
    for room_id_type in (0, 1):
        await create(bench, create_parameters() | {"RoomIdType": room_id_type, "RoomId": "123"})
    string, number = (spec.room for spec in bench.tasks.created)
    assert string.wire_id == "123"
    assert number.wire_id == 123
    assert string != number


# Storage.


@pytest.mark.parametrize(
    ("vendor", "region", "bucket", "expected"),
    [
        pytest.param(1, "us-east-1", "my.bucket", "us-east-1", id="s3"),
        pytest.param(1, "ap-southeast-9", "my-bucket", "ap-southeast-9", id="s3-new-region"),
        pytest.param(1, "us-gov-west-1", "my-bucket", "us-gov-west-1", id="s3-gov"),
        pytest.param(1, "cn-northwest-1", "my-bucket", "cn-northwest-1", id="s3-china"),
        pytest.param(2, "cn-hangzhou", "my-bucket", "cn-hangzhou", id="oss"),
        pytest.param(2, "oss-cn-hangzhou", "my-bucket", "cn-hangzhou", id="oss-with-its-prefix"),
        pytest.param(2, "cn-newcity", "my-bucket", "cn-newcity", id="oss-new-region"),
        pytest.param(2, "ap-southeast-7", "my-bucket", "ap-southeast-7", id="oss-abroad"),
        pytest.param(1, "nowhere", "my-bucket", None, id="s3-no-region"),
        pytest.param(1, "ap-guangzhou", "my-bucket", None, id="s3-region-of-cos"),
        pytest.param(2, "oss-nowhere", "my-bucket", None, id="oss-no-region"),
        pytest.param(1, "us-east-1", "ab", None, id="s3-bucket-too-short"),
        pytest.param(1, "us-east-1", "a..b", None, id="s3-bucket-dots"),
        pytest.param(1, "us-east-1", "My-Bucket", None, id="s3-bucket-capitals"),
        pytest.param(1, "us-east-1", "../etc", None, id="s3-bucket-path"),
        pytest.param(2, "cn-hangzhou", "my.bucket", None, id="oss-bucket-dot"),
        pytest.param(2, "cn-hangzhou", "b" * 64, None, id="oss-bucket-too-long"),
    ],
)
async def test_regions_and_buckets_are_those_of_the_vendor(
    bench: GatewayBench, vendor: int, region: str, bucket: str, expected: str | None
) -> None:
    parameters = create_parameters()
    parameters["SliceStorageParams"]["CloudSliceStorage"] |= {
        "Vendor": vendor,
        "Region": region,
        "Bucket": bucket,
    }
    answer = await create(bench, parameters)
    if expected is None:
        assert answer.code == "InvalidParameter.OutOfRange"
    else:
        stored = bench.tasks.created[0].bucket
        assert (stored.vendor, stored.region, stored.name) == (vendor, expected, bucket)


@pytest.mark.parametrize(
    ("region", "code"),
    [
        ("local", None),
        ("nowhere-1", None),
        ("a/b", "InvalidParameter.OutOfRange"),
        ("a.b", "InvalidParameter.OutOfRange"),
        ("-a", "InvalidParameter.OutOfRange"),
        ("a" * 64, "InvalidParameter.OutOfRange"),
    ],
)
async def test_an_endpoint_of_ones_own_takes_any_region(region: str, code: str | None) -> None:
    """As long as it can be part of a host's name."""
    endpoints = {"endpoints": {"cos": "http://127.0.0.1:9000"}}
    bench = GatewayBench(make_settings(storage=endpoints))
    assert (await create(bench, altered(f"{STORAGE}.Region", region))).code == code


# Subscription lists.


LIST_RULES = [
    pytest.param({"SubscribeAudioUserIds": ["u"] * 32}, None, id="32-entries"),
    pytest.param({"SubscribeAudioUserIds": ["u"] * 33}, "OutOfRange", id="33-entries"),
    pytest.param({"UnSubscribeVideoUserIds": ["u"] * 33}, "OutOfRange", id="33-blocked"),
    pytest.param({"SubscribeAudioUserIds": ["u" * 64]}, None, id="64-bytes"),
    pytest.param({"SubscribeAudioUserIds": ["u" * 65]}, "OutOfRange", id="65-bytes"),
    pytest.param({"SubscribeAudioUserIds": ["ü" * 33]}, "OutOfRange", id="66-bytes"),
    pytest.param({"SubscribeVideoUserIds": ["a", ""]}, "OutOfRange", id="empty-entry"),
    pytest.param({"SubscribeVideoUserIds": ["1.*$", ".*$"]}, None, id="prefix-rules"),
    pytest.param({"SubscribeVideoUserIds": [" \n"]}, None, id="any-text"),
    pytest.param(
        {"SubscribeAudioUserIds": ["a"], "UnSubscribeAudioUserIds": ["b"]},
        "OutOfRange",
        id="both-audio-lists",
    ),
    pytest.param(
        {"SubscribeVideoUserIds": ["a"], "UnSubscribeVideoUserIds": ["b"]},
        "OutOfRange",
        id="both-video-lists",
    ),
    pytest.param(
        {"SubscribeAudioUserIds": ["a"], "UnSubscribeVideoUserIds": ["b"]}, None, id="two-media"
    ),
    pytest.param(
        {"SubscribeAudioUserIds": ["a"], "UnSubscribeAudioUserIds": []}, None, id="one-empty"
    ),
    pytest.param({}, None, id="no-list"),
]


@pytest.mark.parametrize(("lists", "code"), LIST_RULES)
async def test_the_rules_of_lists(
    bench: GatewayBench, lists: dict[str, list[str]], code: str | None
) -> None:
    """The same in Create and in Modify."""
    expected = f"InvalidParameter.{code}" if code else None
    assert (await create(bench, altered(LISTS, lists))).code == expected
    modify = {"SdkAppId": APP, "TaskId": TASK_ID, "SubscribeStreamUserIds": lists}
    assert (await bench.call("ModifyCloudSliceTask", modify)).code == expected


async def test_each_list_goes_to_its_place(bench: GatewayBench) -> None:
    lists = {"UnSubscribeAudioUserIds": ["a", "1.*$"], "SubscribeVideoUserIds": ["v"]}
    await create(bench, altered(LISTS, lists))
    expected = SubscriptionLists(audio_block=("a", "1.*$"), video_allow=("v",))
    assert bench.tasks.created[0].lists == expected
