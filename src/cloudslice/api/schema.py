"""A declarative schema of an action's parameters, and the checks that it stands for.

The checks run over the whole request one after the other, as docs/wire.md, 5, orders them: unknown
names, types, required parameters, ranges. So a request with several faults gets the same answer
wherever in it they are.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloudslice.api.encodings import Encoding, Parameters, parse_json
from cloudslice.api.errors import ApiError, Code, Phrase, missing_parameter, out_of_range

_MAX_UINT64 = 2**64 - 1
_MAX_SHOWN_CHARS = 100
_DECIMAL = re.compile(r"[0-9]{1,20}", re.ASCII)

_UNKNOWN = Phrase("The parameter `{name}` is not recognized.", "未知参数 `{name}`。")
_WRONG_TYPE = Phrase(
    "The value type of parameter `{name}` is not valid, input type should be `{type}`.",
    "参数 `{name}` 的类型不正确，应为 `{type}`。",
)


_ANY_TEXT = Phrase("any text", "任意文本")


@dataclass(frozen=True, slots=True)
class Integer:
    """An unsigned 64-bit number within a range, both ends of which are allowed."""

    minimum: int = 0
    maximum: int = _MAX_UINT64

    @property
    def rule(self) -> Phrase:
        """What a value must be."""
        span = f"{self.minimum} to {self.maximum}"
        return Phrase(f"from {span}", f" {self.minimum} 到 {self.maximum}")


@dataclass(frozen=True, slots=True)
class Text:
    """A string; `rule` says in words what `pattern` and `max_bytes` (of UTF-8) want."""

    pattern: re.Pattern[str] = re.compile("(?s).*")
    max_bytes: int | None = None
    rule: Phrase = _ANY_TEXT

    def allows(self, value: str) -> bool:
        """Whether `value` is within the rule."""
        fits = self.max_bytes is None or len(value.encode()) <= self.max_bytes
        return fits and self.pattern.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class TextList:
    """A list of strings."""

    item: Text
    maximum: int
    """How many entries there may be."""
    minimum: int = 0

    @property
    def rule(self) -> Phrase:
        """How many entries there must be."""
        return Phrase(
            f"a list of {self.minimum} to {self.maximum} entries",
            f"包含 {self.minimum} 到 {self.maximum} 个元素的列表",
        )


@dataclass(frozen=True, slots=True)
class Object:
    """An object with these members and no others."""

    parameters: tuple["Parameter", ...]


Type = Integer | Text | TextList | Object

_TYPE_NAMES: dict[type[Type], str] = {
    Integer: "uint64",
    Text: "string",
    TextList: "array of string",
    Object: "object",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One member of a request.

    Attributes:
        missing: the code if it is absent; None if it may be.
        default: its value if it is absent.
        out_of_range: the code if its type allows the value but its range does not.
        zero_is_absent: whether 0 stands for "not given".
        note: what a reader of the API's documentation should know.
    """

    name: str
    type: Type
    missing: Code | None = None
    default: Any = None
    out_of_range: Code = Code.INVALID_OUT_OF_RANGE
    zero_is_absent: bool = False
    note: str = ""


def check(schema: Object, parameters: Parameters) -> dict[str, Any]:
    """The values of `parameters` with the types of `schema`, defaults filled in.

    An optional parameter that is absent and has no default is not in the result. Absent is what
    is not there, null, an empty string where text is expected, and an empty object where one is
    required (docs/wire.md, 2.2).

    Raises:
        ApiError: the parameters do not fit the schema.
    """
    values = parameters.values
    if parameters.encoding is Encoding.MULTIPART:
        values = _parse_json_texts(schema, values)
    _reject_unknown(schema, values, "")
    typed = _convert_object(schema, values, "", is_text=parameters.encoding is not Encoding.JSON)
    _require(schema, typed, "")
    _check_ranges(schema, typed, "")
    return _with_defaults(schema, typed)


def _parse_json_texts(schema: Object, values: Mapping[str, Any]) -> dict[str, Any]:
    structured = {p.name for p in schema.parameters if isinstance(p.type, Object | TextList)}
    return {
        name: parse_json(value.encode())
        if name in structured and isinstance(value, str) and value
        else value
        for name, value in values.items()
    }


def _reject_unknown(schema: Object, values: Mapping[str, Any], prefix: str) -> None:
    members = {parameter.name: parameter for parameter in schema.parameters}
    for name, value in values.items():
        if name not in members:
            shown = f"{prefix}{name}"[:_MAX_SHOWN_CHARS]
            raise ApiError(Code.UNKNOWN_PARAMETER, _UNKNOWN, name=shown)
        member = members[name].type
        if isinstance(member, Object) and isinstance(value, dict):
            _reject_unknown(member, value, f"{prefix}{name}.")


def _convert_object(
    schema: Object, values: Mapping[str, Any], prefix: str, *, is_text: bool
) -> dict[str, Any]:
    converted = {}
    for parameter in schema.parameters:
        value = values.get(parameter.name)
        if not _is_absent(parameter, value, is_text=is_text):
            name = f"{prefix}{parameter.name}"
            converted[parameter.name] = _convert(parameter.type, value, name, is_text=is_text)
    return converted


def _is_absent(parameter: Parameter, value: Any, *, is_text: bool) -> bool:
    if value == "":
        return is_text or isinstance(parameter.type, Text)
    if value == {}:
        return isinstance(parameter.type, Object) and parameter.missing is not None
    return value is None


def _convert(kind: Type, value: Any, name: str, *, is_text: bool) -> Any:
    match kind:
        case Integer():
            return _convert_integer(value, name, is_text=is_text)
        case Text() if isinstance(value, str):
            return value
        case TextList() if isinstance(value, list):
            return [
                _convert(kind.item, item, f"{name}.{index}", is_text=is_text)
                for index, item in enumerate(value)
            ]
        case Object() if isinstance(value, dict):
            return _convert_object(kind, value, f"{name}.", is_text=is_text)
    raise _wrong_type(kind, name)


def _convert_integer(value: Any, name: str, *, is_text: bool) -> int:
    if is_text and isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = int(value)
    if type(value) is not int or not 0 <= value <= _MAX_UINT64:
        raise _wrong_type(Integer(), name)
    return value


def _wrong_type(kind: Type, name: str) -> ApiError:
    return ApiError(Code.INVALID_PARAMETER, _WRONG_TYPE, name=name, type=_TYPE_NAMES[type(kind)])


def _require(schema: Object, values: Mapping[str, Any], prefix: str) -> None:
    for parameter in schema.parameters:
        name = f"{prefix}{parameter.name}"
        value = values.get(parameter.name)
        is_absent = value is None or (parameter.zero_is_absent and value == 0)
        if is_absent and parameter.missing is not None:
            raise missing_parameter(name, parameter.missing)
        if isinstance(parameter.type, Object) and value is not None:
            _require(parameter.type, value, f"{name}.")


def _check_ranges(schema: Object, values: Mapping[str, Any], prefix: str) -> None:
    for parameter in schema.parameters:
        if parameter.name not in values:
            continue
        value, name = values[parameter.name], f"{prefix}{parameter.name}"
        if isinstance(parameter.type, Object):
            _check_ranges(parameter.type, value, f"{name}.")
        for place, rule in _violations(parameter.type, value, name):
            raise out_of_range(place, rule, parameter.out_of_range)


def _violations(kind: Type, value: Any, name: str) -> Iterator[tuple[str, Phrase]]:
    match kind:
        case Integer() if not kind.minimum <= value <= kind.maximum:
            yield name, kind.rule
        case Text() if not kind.allows(value):
            yield name, kind.rule
        case TextList():
            if not kind.minimum <= len(value) <= kind.maximum:
                yield name, kind.rule
            for index, item in enumerate(value):
                yield from _violations(kind.item, item, f"{name}.{index}")


def _with_defaults(schema: Object, values: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(values)
    for parameter in schema.parameters:
        if parameter.name in filled:
            if isinstance(parameter.type, Object):
                filled[parameter.name] = _with_defaults(parameter.type, filled[parameter.name])
        elif parameter.default is not None:
            filled[parameter.name] = parameter.default
    return filled
