"""examples/cloudslice.toml is the reference of the settings: complete, explained, the defaults."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from cloudslice.config import AppSettings, CredentialSettings, Settings, load_settings
from cloudslice.settings.auto_task_settings import AutoTaskSettings
from cloudslice.settings.mistakes import SettingsError

SAMPLE = Path(__file__).parents[2] / "examples" / "cloudslice.toml"
SECRETS = {
    "CLOUDSLICE_APPS__0__SECRET_KEY": "app's key",
    "CLOUDSLICE_CREDENTIALS__0__SECRET_ID": "AKID",
    "CLOUDSLICE_CREDENTIALS__0__SECRET_KEY": "credential's key",
}


def test_what_may_be_left_out_has_its_default() -> None:
    """Whoever deletes a line of the sample changes nothing."""
    settings = load_settings(SAMPLE, SECRETS)
    [app], [credential] = settings.apps, settings.credentials
    assert settings.model_copy(update={"apps": (), "credentials": ()}) == Settings()
    assert app.auto_tasks == (AutoTaskSettings(),), "the rule is off"
    assert app.model_copy(update={"auto_tasks": ()}) == AppSettings(
        sdk_app_id=1400000001, secret_key=app.secret_key
    )
    assert credential == CredentialSettings(
        secret_id="AKID", secret_key=credential.secret_key, sdk_app_ids=(1400000001,)
    )


def test_it_brings_no_secret_of_its_own() -> None:
    """A secret that everybody knows is none: the server does not start before it is filled in."""
    with pytest.raises(SettingsError) as error:
        load_settings(SAMPLE, {})
    for key in ("apps[0].secret_key", "credentials[0].secret_id", "credentials[0].secret_key"):
        assert key in str(error.value)


def keys_of(model: BaseModel) -> Iterator[str]:
    """The dotted names of all settings."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        children = value if isinstance(value, tuple) else (value,)
        models = [child for child in children if isinstance(child, BaseModel)]
        yield from (f"{name}.{key}" for child in models for key in keys_of(child))
        if not models:
            yield name


def keys_in(table: dict[str, Any]) -> Iterator[str]:
    """The dotted names of all keys of a TOML table; those of a list of tables, once for each."""
    for name, value in table.items():
        children = value if isinstance(value, list) else [value]
        tables = [child for child in children if isinstance(child, dict)]
        yield from (f"{name}.{key}" for child in tables for key in keys_in(child))
        if not tables:
            yield name


def test_every_setting_is_there() -> None:
    expected = set(keys_of(load_settings(SAMPLE, SECRETS)))
    assert set(keys_in(tomllib.loads(SAMPLE.read_text()))) == expected


def test_every_key_is_explained() -> None:
    """By whole sentences, right above it."""
    lines = SAMPLE.read_text().splitlines()
    keys = [index for index, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert keys
    for index in keys:
        explanation = lines[index - 1]
        assert explanation.startswith("# "), lines[index]
        assert explanation.endswith("."), lines[index]
