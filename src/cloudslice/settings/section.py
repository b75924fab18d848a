"""What all tables of the settings have in common."""

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A table: unknown keys are refused, and nothing changes after the start."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _check_number(cls, given: object, info: ValidationInfo) -> object:
        """Refuse `true` where a number belongs: to Python it is 1."""
        field = cls.model_fields[str(info.field_name)]
        if isinstance(given, bool) and field.annotation in (int, float):
            raise ValueError("expected a number")
        return given
