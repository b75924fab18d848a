#!/usr/bin/env python3
"""Writes docs/api.md's tables of actions and parameters, from the code that checks them, and names
a test for each action, error code and event."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from cloudslice.api.actions import Action, action_table
from cloudslice.api.errors import Language
from cloudslice.api.schema import Integer, Object, Parameter, Text, TextList

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
_CLIENTS = "tests/e2e/test_official_clients.py"
_PROVEN_ROW = re.compile(r"^\| (`?)([\w.]+)\1 \| (.*) \| `(tests/[^`]*)` \|$", re.MULTILINE)
_BLOCK = re.compile(r"(<!-- made by scripts/api_docs.py -->\n).*?(\n<!-- end -->)", re.DOTALL)


def all_actions() -> dict[str, Action]:
    """Every action of the API; nothing behind it is called."""
    nothing: Any = None
    return action_table(nothing, nothing, nothing, nothing, nothing)


def render(page: str) -> str:
    """`page` with its made part as the code has it now."""
    made = "\n\n".join(_render_action(action) for action in all_actions().values())
    page = _BLOCK.sub(lambda block: f"{block[1]}\n{made}\n{block[2]}", page)
    return _PROVEN_ROW.sub(_render_proven_row, page)


def find_proof(what: str, among: str = "") -> str:
    """The path of a test that names an action, a code (both in quotes) or an event's number.

    Args:
        what: the name or number.
        among: a path that is kept if it is one of them.

    Raises:
        LookupError: there is none.
    """
    pattern = re.compile(rf"\b{what}\b" if what.isdecimal() else f'"{re.escape(what)}"')
    found = [path for path, text in _tests().items() if pattern.search(text)]
    if not found:
        raise LookupError(f"no test names {what}")
    return among if among in found else found[0]


@cache
def _tests() -> dict[str, str]:
    """The tests' texts by path: those that run the whole product first, then the API's."""
    paths = [
        path
        for folder in ("e2e", "integration/api", "unit/api", "integration", "unit/webhooks", "unit")
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
    ]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def _render_proven_row(row: re.Match[str]) -> str:
    mark, what, meaning, proof = row.groups()
    return f"| {mark}{what}{mark} | {meaning} | `{find_proof(what, proof)}` |"


def _render_action(action: Action) -> str:
    outputs = ", ".join(f"`{name}`" for name in (*action.outputs, "RequestId"))
    rows = "\n".join(_rows(action.schema, ""))
    return (
        f"### {action.name}\n\n"
        "| parameter | type | if absent | range | |\n| --- | --- | --- | --- | --- |\n"
        f"{rows}\n\nOutputs: {outputs}. A credential that may not use the app: "
        f"`{action.forbidden}`. A fault of ours: `{action.internal_error}`. "
        f"Proven by `{find_proof(action.name, _CLIENTS)}`, its parameters in `tests/unit/api/`."
    )


def _rows(schema: Object, prefix: str) -> list[str]:
    rows = []
    for parameter in schema.parameters:
        name = f"{prefix}{parameter.name}"
        cells = (f"`{name}`", *_describe(parameter), parameter.note)
        rows.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
        if isinstance(parameter.type, Object):
            rows += _rows(parameter.type, f"{name}.")
    return rows


def _describe(parameter: Parameter) -> tuple[str, str, str]:
    """Type, what happens if it is absent, and range with the code for what is outside of it."""
    if parameter.missing is not None:
        absent = f"`{parameter.missing}`"
    else:
        absent = "" if parameter.default is None else f"{parameter.default}"
    code = f"`{parameter.out_of_range}`"
    match parameter.type:
        case Integer(minimum, maximum) if (minimum, maximum) != (0, 2**64 - 1):
            return "integer", absent, f"{minimum} to {maximum}, else {code}"
        case Integer():
            return "integer", absent, ""
        case Text() as text if text != Text():
            return "string", absent, f"{text.rule.render(Language.ENGLISH)}, else {code}"
        case Text():
            return "string", absent, ""
        case TextList(item, maximum, minimum):
            rule = item.rule.render(Language.ENGLISH)
            count = f"at most {maximum}" if minimum == 0 else f"{minimum} to {maximum}"
            return "string[]", absent, f"{count}, each {rule}, else {code}"
    return "object", absent, ""


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
