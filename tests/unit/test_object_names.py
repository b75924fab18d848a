"""Object keys, each case in both directions."""

import pytest

from cloudslice.ids import ObjectName
from cloudslice.slices import SliceKind

AUDIO = {"kind": SliceKind.AUDIO, "extension": "ogg"}
CASES = [
    pytest.param(
        ObjectName(("prefix1",), "-m9-EXAMPLE+TaskId..", "anchor_1", sdk_app_id=1400000000,
                   room_id="150", utc_second=1700000001, **AUDIO),
        "prefix1/-m9-EXAMPLE+TaskId../anchor_1/audios/1400000000_150_anchor_1_20231114221321.ogg",
        id="the contract's example",
    ),
    pytest.param(
        ObjectName(("prefix1", "prefix2"), "-nHlf1AQ..", "TianyuModerationCase3-user1",
                   SliceKind.IMAGE, 20005067, "963715", 1740172273, "png"),
        "prefix1/prefix2/-nHlf1AQ../TianyuModerationCase3-user1/images/"
        "20005067_963715_TianyuModerationCase3-user1_20250221211113.png",
        id="the public sample",
    ),
    pytest.param(
        ObjectName((), "t", "u", SliceKind.IMAGE, 1, "room", 1736173903, "jpg"),
        "t/u/images/1_room_u_20250106143143.jpg",
        id="no prefix, jpg",
    ),
    pytest.param(
        ObjectName((), "t", "a_b", sdk_app_id=1, room_id="x_a_b_y", utc_second=0, **AUDIO),
        "t/a_b/audios/1_x_a_b_y_a_b_19700101000000.ogg",
        id="underscores everywhere",
    ),
    pytest.param(
        ObjectName((), "t", "u", sdk_app_id=1, room_id="a ?#%&+~[]{}^|<>:;!$()=@,.-_",
                   utc_second=0, **AUDIO),
        "t/u/audios/1_a ?#%&+~[]{}^|<>:;!$()=@,.-__u_19700101000000.ogg",
        id="every odd character of a string room, raw",
    ),
    pytest.param(
        ObjectName(("audios", "images"), "t", "images", sdk_app_id=1, room_id="r",
                   utc_second=0, **AUDIO),
        "audios/images/t/images/audios/1_r_images_19700101000000.ogg",
        id="segments named like the folders",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key"), CASES)
def test_name_becomes_its_key_and_back(name: ObjectName, key: str) -> None:
    """A key has exactly the documented form, and says again what went into it."""
    assert name.to_key() == key
    assert ObjectName.from_key(key) == name


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("t/u/audios/1_r_other_19700101000000.ogg", id="another user in the name"),
        pytest.param("t/u/videos/1_r_u_19700101000000.ogg", id="unknown folder"),
        pytest.param("t/u/audios/x_r_u_19700101000000.ogg", id="app is no number"),
        pytest.param("t/u/audios/1_r_u_1970010100000.ogg", id="short stamp"),
        pytest.param("t/u/audios/1_r_u_19701301000000.ogg", id="no such month"),
        pytest.param("u/audios/1_r_u_19700101000000.ogg", id="no task"),
        pytest.param("", id="empty"),
    ],
)
def test_foreign_keys_are_refused(key: str) -> None:
    """What is not the key of a slice is a ValueError."""
    with pytest.raises(ValueError, match="not the object key of a slice"):
        ObjectName.from_key(key)
