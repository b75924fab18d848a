#!/usr/bin/env python3
"""Writes the tables of docs/configuration.md: keys, types and defaults from the code, meanings from
the comments of examples/cloudslice.toml."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BaseModel, BeforeValidator, IPvAnyNetwork, SecretStr
from pydantic.fields import FieldInfo

from cloudslice.config import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"
SAMPLE = ROOT / "examples" / "cloudslice.toml"
_BLOCK = re.compile(r"(<!-- made by scripts/config_docs.py -->\n).*?(\n<!-- end -->)", re.DOTALL)
_TYPES = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "true or false",
    SecretStr: "text, secret",
    Path: "path",
    IPvAnyNetwork: "network",
}


@dataclass(frozen=True)
class Table:
    """A table of the settings file."""

    name: str
    """As it stands in the file, such as ``[rtc]``; empty for the top."""
    variable: str
    """What the names of its keys' variables begin with."""
    fields: dict[str, FieldInfo]


def tables() -> list[Table]:
    """All tables of the settings."""
    return list(_tables(Settings, "", "CLOUDSLICE_", is_list=False))


def render(page: str) -> str:
    """`page` with its made part as code and sample have it now."""
    meanings = read_meanings(SAMPLE.read_text(encoding="utf-8"))
    made = "\n\n".join(_render_table(table, meanings) for table in tables())
    return _BLOCK.sub(lambda block: f"{block[1]}\n{made}\n{block[2]}", page)


def read_meanings(sample: str) -> dict[tuple[str, str], str]:
    """The comment above each table and key, by the table's name and the key; "" is the table."""
    meanings: dict[tuple[str, str], str] = {}
    table, comment = "", list[str]()
    for line in sample.splitlines():
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
            continue
        if line.startswith("["):
            table = line
            meanings[table, ""] = " ".join(comment)
        elif line:
            meanings[table, line.partition(" = ")[0]] = " ".join(comment)
        comment = []
    return meanings


def _tables(model: type[BaseModel], name: str, variable: str, *, is_list: bool) -> Iterator[Table]:
    own, inner = {}, []
    for key, field in model.model_fields.items():
        child, is_child_list = _child(field)
        if child is None:
            own[key] = field
        else:
            path = f"{name}.{key}" if name else key
            index = "0__" if is_child_list else ""
            inner.append((child, path, f"{variable}{key.upper()}__{index}", is_child_list))
    brackets = ("[[", "]]") if is_list else ("[", "]")
    if own:
        yield Table(f"{brackets[0]}{name}{brackets[1]}" if name else "", variable, own)
    for child, path, child_variable, is_child_list in inner:
        yield from _tables(child, path, child_variable, is_list=is_child_list)


def _child(field: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """The model of a field that is a table, and whether it is a list of them."""
    is_list = get_origin(field.annotation) is tuple
    kind = get_args(field.annotation)[0] if is_list else field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind, is_list
    return None, False


def _render_table(table: Table, meanings: dict[tuple[str, str], str]) -> str:
    lines = []
    if table.name:
        lines += [f"### `{table.name}`", "", meanings[table.name, ""], ""]
    lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in table.fields.items():
        cells = (
            f"`{key}`<br>`{table.variable}{key.upper()}`",
            _type(field),
            _default(field),
            meanings[table.name, key],
        )
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines)


def _choice(kind: Any) -> str:
    return " or ".join(f'`"{each}"`' for each in get_args(kind))


def _type(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if get_origin(item) is Literal:
            return f"list of {_choice(item)}"
        item = getattr(item, "__origin__", item)  # out of Annotated
        one = f"{_TYPES[item]} or " if _is_one_taken(field) else ""
        return f"{one}list of {_TYPES[item]}s"
    if get_origin(kind) is Literal:
        return _choice(kind)
    low = high = ""
    for limit in field.metadata:
        match limit:
            case Ge(ge=bound):
                low = f"at least {bound}"
            case Gt(gt=bound):
                low = f"more than {bound}"
            case Le(le=bound):
                high = f"at most {bound}"
            case MinLen():
                low = "not empty"
            case MaxLen(max_length=bound):
                high = f"at most {bound} characters"
    return ", ".join(part for part in (_TYPES[kind], low, high) if part)


def _is_one_taken(field: FieldInfo) -> bool:
    """Whether a list's only value may stand there by itself."""
    return any(isinstance(each, BeforeValidator) for each in field.metadata)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    value = field.default
    match value:
        case SecretStr():
            return f'`"{value.get_secret_value()}"`'
        case bool():
            return f"`{str(value).lower()}`"
        case str() | Path():
            return f'`"{value}"`'
        case tuple():
            return "`[" + ", ".join(f'"{each}"' for each in value) + "]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
