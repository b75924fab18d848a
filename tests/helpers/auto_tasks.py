"""Rules for tests."""

from typing import Any

from cloudslice.config import AppSettings
from cloudslice.slices import Bucket, Vendor
from cloudslice.tasks.auto_task_rules import AutoTaskRule
from helpers.api_fakes import APP_KEY

STORAGE = {"region": "ap-guangzhou", "bucket": "demo-1250000000", "access_key": "a"}
BUCKET = Bucket(Vendor.COS, "ap-guangzhou", "demo-1250000000", "a", "s")


def make_rule(sdk_app_id: int, rooms: str, *, app: Any = None, **more: Any) -> AutoTaskRule:
    """A rule for an app, by the settings' own checks; `app` are further settings of the app."""
    rule = {"rooms": rooms, "storage": STORAGE | {"secret_key": "s"}} | more
    settings = AppSettings.model_validate(
        {"sdk_app_id": sdk_app_id, "secret_key": APP_KEY, "auto_tasks": [rule]} | (app or {})
    )
    return AutoTaskRule.make(settings, settings.auto_tasks[0], BUCKET)
