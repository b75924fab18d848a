"""What is said of settings that cannot be used."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

Place = tuple[str | int, ...]
"""The way to a key: names of tables, indexes of lists."""


class SettingsError(Exception):
    """The settings cannot be used; the text names file, key, and what was expected."""


_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "float_parsing": "a number",
    "finite_number": "a number that is finite",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "ip_any_network": "a network such as 10.0.0.0/8 or a single address",
    "less_than_equal": "at most {le}",
    "literal_error": "one of {expected}",
    "model_type": "a table",
    "path_type": "a path in quotes",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "a text that is not empty",
    "string_type": "a text in quotes",
    "too_short": "a text that is not empty",
    "tuple_type": "a list",
}

_LISTS: dict[Place, str] = {
    ("apps",): "apps",
    ("auto_tasks",): "apps.auto_tasks",
    ("credentials",): "credentials",
}
_SECRETS = ("_key", "_secret", "_token", "pin")
"""What the names of keys end with whose values are not shown."""


def explain(error: ValidationError, file: Path, sources: Mapping[Place, str]) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        place = problem["loc"]
        variable = next((v for p, v in sources.items() if place[: len(p)] == p), None)
        origin = f"environment variable {variable}" if variable else str(file)
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
        where = f"{origin}: {key.lstrip('.')}: " if key else f"{origin}: "
        yield where + _describe(problem["type"], place, problem)


def _show(limit: object) -> object:
    """60.0, which is a limit of a number, as the documentation has it: 60."""
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _describe(kind: str, place: Place, problem: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        return "no such setting"
    if kind == "missing":
        return "missing, and has no default"
    if kind == "value_error":
        reason = str(problem["ctx"]["error"])
    elif place[-1:] in _LISTS and kind == "tuple_type":
        reason = f"expected a list of tables, each under [[{_LISTS[place[-1:]]}]]"
    elif kind in _EXPECTED:
        limits = problem.get("ctx", {})
        reason = "expected " + _EXPECTED[kind].format(**{k: _show(v) for k, v in limits.items()})
    else:
        reason = problem["msg"]
    value, name = problem["input"], str(place[-1]) if place else ""
    is_shown = isinstance(value, str | int | float) and not name.endswith(_SECRETS)
    return f"{reason}, but it is {value!r}" if is_shown else reason
