"""Environment variables over the settings file.

``CLOUDSLICE_<KEY>`` overrides a key; ``__`` steps into a table or, by index, into a list of
tables: ``CLOUDSLICE_RTC__UDP_PORT=7000``, ``CLOUDSLICE_APPS__0__SECRET_KEY=...``. A value that
starts like a TOML list, table or quoted text is read as that, any other as the text it is, but
without line ends behind it, which come with what is read from a file.
"""

import tomllib
from typing import Any

from cloudslice.settings.mistakes import Place, SettingsError

PREFIX = "CLOUDSLICE_"
_LISTS = ("apps", "auto_tasks", "credentials")
"""Lists of tables."""


def override(values: dict[str, Any], name: str, text: str) -> Place:
    """Put the value of environment variable `name` into `values`; the key that it is for.

    Raises:
        SettingsError: it names no key, or its value is not TOML where it begins like it.
    """
    *steps, last = name.removeprefix(PREFIX).lower().split("__")
    table: Any = values
    place: Place = ()
    for step in steps:
        table, index = _step_into(table, step, name)
        place += (index,)
    if not isinstance(table, dict):
        raise SettingsError(f"environment variable {name}: names no key of a table")
    table[last] = _parse_value(text, name)
    return (*place, last)


def _step_into(table: Any, step: str, name: str) -> tuple[Any, str | int]:
    if isinstance(table, list):
        if not step.isdecimal() or int(step) > len(table):
            raise SettingsError(
                f"environment variable {name}: `{step}` is not an index from 0 to {len(table)}"
            )
        if int(step) == len(table):
            table.append({})
        return table[int(step)], int(step)
    if not isinstance(table, dict):
        raise SettingsError(f"environment variable {name}: `{step}` is not in a table")
    return table.setdefault(step, [] if step in _LISTS else {}), step


def _parse_value(text: str, name: str) -> Any:
    text = text.rstrip("\r\n")
    if not text.startswith(("[", "{", '"', "'")):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"environment variable {name}: not valid TOML: {error}") from error
