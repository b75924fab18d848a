"""What a node refuses to start with, beyond what the settings' own checks see."""

from pathlib import Path

import pytest

from cloudslice.config import Settings
from cloudslice.node import open_node
from cloudslice.settings.mistakes import SettingsError

STORAGE = {"region": "ap-guangzhou", "bucket": "demo-1250000000", "access_key": "a"}


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        ({"bucket": "no-appid"}, "Bucket` is out of range: it must be the full name of a COS"),
        ({"region": "atlantis-1"}, "Region` is out of range: it must be a region of Tencent COS"),
    ],
)
async def test_a_rule_whose_bucket_cannot_be(
    tmp_path: Path, storage: dict[str, str], expected: str
) -> None:
    """It would make tasks whose slices nobody takes."""
    rule = {"rooms": "*", "storage": STORAGE | {"secret_key": "TOPSECRET"} | storage}
    app = {"sdk_app_id": 1, "secret_key": "key", "auto_tasks": [{}, rule]}
    settings = Settings.model_validate({"data_dir": tmp_path, "apps": [app]})
    with pytest.raises(SettingsError) as error:
        async with open_node(settings):
            pass
    assert str(error.value).startswith("apps[0].auto_tasks[1].storage: ")
    assert expected in str(error.value)
    assert "TOPSECRET" not in str(error.value)
