"""Settings of tasks that are made without a call: a rule for rooms, and what their task is like."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from cloudslice.ids import USER_ID, USER_ID_RULE
from cloudslice.settings.section import Section
from cloudslice.settings.values import SecretText, shaped

_UserIds = Annotated[tuple[str, ...], Field(max_length=32)]


class AutoTaskStorage(Section):
    """The bucket: CloudSliceStorage of CreateCloudSliceTask."""

    vendor: Literal["cos", "s3", "oss"] = "cos"
    region: str = ""
    bucket: str = ""
    access_key: str = ""
    secret_key: SecretText = SecretStr("")
    file_name_prefix: Annotated[
        tuple[
            Annotated[
                str,
                AfterValidator(shaped("[A-Za-z0-9_-]{1,64}", "1 to 64 letters, digits, _ or -")),
            ],
            ...,
        ],
        Field(max_length=10),
    ] = ()


class AutoTaskSettings(Section):
    """A task for every room whose id matches."""

    rooms: str = ""
    """A pattern of the shell; the rule is off without it."""
    room_id_type: Literal["any", "string", "number"] = "any"
    """Of which type the rooms are."""
    user_id: Annotated[str, AfterValidator(shaped(USER_ID.pattern, USER_ID_RULE))] = "cloudslice"
    """The robots'."""
    audio: bool = True
    video: bool = True
    max_idle_s: Annotated[int, Field(ge=5, le=86400)] = 30
    audio_slice_s: Annotated[int, Field(ge=15, le=60)] = 15
    video_interval_s: Annotated[int, Field(ge=5, le=60)] = 5
    image_format: Literal["png", "jpg"] = "png"
    audio_allow: _UserIds = ()
    audio_block: _UserIds = ()
    video_allow: _UserIds = ()
    video_block: _UserIds = ()
    storage: AutoTaskStorage = AutoTaskStorage()

    @model_validator(mode="after")
    def _check_rule(self) -> "AutoTaskSettings":
        if not self.rooms:
            return self
        if not (self.audio or self.video):
            raise ValueError("audio or video must be true")
        for medium in ("audio", "video"):
            if getattr(self, f"{medium}_allow") and getattr(self, f"{medium}_block"):
                raise ValueError(f"{medium}_allow and {medium}_block must not both hold entries")
        storage = self.storage
        needed = {
            "region": storage.region,
            "bucket": storage.bucket,
            "access_key": storage.access_key,
            "secret_key": storage.secret_key.get_secret_value(),
        }
        if missing := [f"storage.{key}" for key, value in needed.items() if not value]:
            raise ValueError(f"a rule needs {' and '.join(missing)}")
        return self
