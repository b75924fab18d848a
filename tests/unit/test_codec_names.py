"""The settings name the codecs that there are."""

from typing import get_args

from cloudslice.codecs.catalog import CATALOG
from cloudslice.settings.values import VideoCodecName


def test_settings_name_each_video_codec() -> None:
    assert set(get_args(VideoCodecName)) == {each.name for each in CATALOG.video}
