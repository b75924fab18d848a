"""docs/configuration.md has every setting, as the code and the sample have it."""

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from cloudslice.config import load_settings
from cloudslice.settings.mistakes import SettingsError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
SAMPLE = ROOT / "examples" / "cloudslice.toml"
SECRETS = {
    "CLOUDSLICE_APPS__0__SECRET_KEY": "app's key",
    "CLOUDSLICE_CREDENTIALS__0__SECRET_ID": "AKID",
    "CLOUDSLICE_CREDENTIALS__0__SECRET_KEY": "credential's key",
}


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("config_docs", ROOT / "scripts/config_docs.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def variables() -> list[str]:
    """Every variable that stands in the tables."""
    return re.findall(r"<br>`(CLOUDSLICE_\w+)`", PAGE)


def test_the_tables_are_those_of_code_and_sample() -> None:
    """`scripts/config_docs.py` writes them anew."""
    assert load_script().render(PAGE) == PAGE


def problems(environ: Mapping[str, str]) -> str:
    try:
        load_settings(SAMPLE, SECRETS | environ)
    except SettingsError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("variable", variables())
def test_every_variable_overrides_its_key(variable: str) -> None:
    """A value of no key's form is taken for the key, or refused as the key's."""
    value = "[1.5, 'x']"
    told = problems({variable: value})
    key = re.sub(
        r"\.(\d+)", r"[\1]", variable.removeprefix("CLOUDSLICE_").lower().replace("__", ".")
    )
    assert told.startswith(f"environment variable {variable}: {key}")
    assert "no such setting" not in told


def test_an_unknown_variable_is_a_mistake() -> None:
    assert "no such setting" in problems({"CLOUDSLICE_RTC__UDPPORT": "1"})


def test_the_mistakes_shown_are_those_that_come(tmp_path: Path) -> None:
    """The example of the page, word for word."""
    path = tmp_path / "cloudslice.toml"
    path.write_text("[rtc]\nudp_port = 70000\nudpport = 1\n")
    with pytest.raises(SettingsError) as error:
        load_settings(path, {"CLOUDSLICE_LOG__LEVEL": "verbose"})
    shown = re.search(r"```\ncloudslice: (.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert sorted(str(error.value).replace(str(path), "cloudslice.toml").splitlines()) == sorted(
        shown[1].splitlines()
    )
