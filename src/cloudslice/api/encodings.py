"""The encodings of parameters, each turned into one nested dictionary (docs/wire.md, 2.2)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl

from pydantic_core import from_json

from cloudslice.api.errors import ApiError, Code, Phrase
from cloudslice.api.http_exchange import FORM, JSON, MULTIPART, HttpRequest
from cloudslice.api.multipart import MultipartError, parse_multipart

MAX_VALUES = 20_000
"""More values than this are in no sensible request. Counted before anything is built of them, so
that 10 MB of commas do not become a gigabyte of objects and a second of work."""

_MAX_NAME_SEGMENTS = 32
_MAX_INDEX_DIGITS = 6

_NOT_JSON = Phrase(
    "The request body is not a JSON object: {problem}.", "请求正文不是 JSON 对象：{problem}。"
)
_NOT_A_FORM = Phrase(
    "Url key and value should be splited by `=`.", "URL 参数的名称和值应以 `=` 分隔。"
)
_NOT_UTF8 = Phrase("The parameters are not UTF-8.", "参数不是 UTF-8 编码。")
_TOO_MANY = Phrase("The request has more than {limit} values.", "请求中的值超过 {limit} 个。")
_CONTRADICTORY_NAME = Phrase(
    "Parameter `{name}` has both a value and members.", "参数 `{name}` 不能同时有值和成员。"
)
_NAME_TOO_DEEP = Phrase(
    "A parameter name has more than {limit} segments.", "参数名称的层级超过 {limit} 层。"
)
_BAD_MULTIPART = Phrase(
    "The request body is not valid multipart/form-data: {problem}.",
    "请求正文不是有效的 multipart/form-data：{problem}。",
)
_UNSUPPORTED_MEDIA_TYPE = Phrase(
    "Content-Type `{media_type}` is not supported here; use `application/json` with "
    "TC3-HMAC-SHA256 or `application/x-www-form-urlencoded` with HmacSHA1 or HmacSHA256.",
    "此处不支持 Content-Type `{media_type}`；TC3-HMAC-SHA256 请使用 `application/json`，"
    "HmacSHA1 或 HmacSHA256 请使用 `application/x-www-form-urlencoded`。",
)


class Encoding(Enum):
    """How parameters came: it decides what a value that is text may stand for."""

    JSON = "json"
    FLAT = "flat"
    """Names such as ``A.B.0``; every value is text."""
    MULTIPART = "multipart"
    """Top-level values are text; that of an object or list is JSON."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request carries, common parameters and an action's alike."""

    values: dict[str, Any]
    encoding: Encoding


def decode_query(query: bytes) -> dict[str, str]:
    """The fields of a query string or form body; of a repeated name the last.

    Raises:
        ApiError: it is not `name=value` joined with `&`, not UTF-8, or has too many fields.
    """
    if query.count(b"&") >= MAX_VALUES:
        raise ApiError(Code.INVALID_PARAMETER, _TOO_MANY, limit=MAX_VALUES)
    if not query:
        return {}
    try:
        text = query.decode("utf-8")
        if any(field and "=" not in field for field in text.split("&")):
            raise ApiError(Code.INVALID_PARAMETER, _NOT_A_FORM)
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError as error:
        raise ApiError(Code.INVALID_PARAMETER, _NOT_UTF8) from error


def decode_flat(fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The nested form of `fields` whose names are dot paths with list indexes from 0.

    Of a repeated name the last counts. Indexes may come in any order; a gap closes up.

    Raises:
        ApiError: a name contradicts another one, or is too long a path.
    """
    root: dict[str, Any] = {}
    for name, value in fields:
        segments = name.split(".")
        if len(segments) > _MAX_NAME_SEGMENTS:
            raise ApiError(Code.INVALID_PARAMETER, _NAME_TOO_DEEP, limit=_MAX_NAME_SEGMENTS)
        node = root
        for segment in segments[:-1]:
            node = node.setdefault(segment, _Node())
            if not isinstance(node, _Node):
                raise ApiError(Code.INVALID_PARAMETER, _CONTRADICTORY_NAME, name=name[:100])
        if isinstance(node.get(segments[-1]), _Node):
            raise ApiError(Code.INVALID_PARAMETER, _CONTRADICTORY_NAME, name=name[:100])
        node[segments[-1]] = value
    return {name: _close(value) for name, value in root.items()}


def decode_body(request: HttpRequest) -> Parameters:
    """The parameters in the body of a POST that is signed with TC3.

    Raises:
        ApiError: the body is not what its Content-Type says, or that is not supported.
    """
    media_type = request.head.media_type
    if media_type == JSON:
        return Parameters(decode_json(request.body), Encoding.JSON)
    if media_type == MULTIPART:
        return Parameters(_decode_multipart(request), Encoding.MULTIPART)
    raise unsupported_media_type(media_type)


def decode_form(request: HttpRequest) -> dict[str, str]:
    """The fields of a v1 request: of the query of a GET, of the form body of a POST.

    Raises:
        ApiError: they cannot be read, or the body is no form.
    """
    if request.head.method == "GET":
        return decode_query(request.head.query)
    if request.head.media_type != FORM:
        raise unsupported_media_type(request.head.media_type)
    return decode_query(request.body)


def decode_json(text: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ApiError: it is none, holds NaN or Infinity, or is nested or crowded beyond reason.
    """
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ApiError(Code.INVALID_PARAMETER, _NOT_JSON, problem="not an object")
    return value


def parse_json(text: bytes) -> Any:
    """A JSON value; errors as for `decode_json`."""
    if text.count(b",") >= MAX_VALUES:
        raise ApiError(Code.INVALID_PARAMETER, _TOO_MANY, limit=MAX_VALUES)
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(Code.INVALID_PARAMETER, _NOT_JSON, problem=str(error)) from error


def unsupported_media_type(media_type: str) -> ApiError:
    """The error for a body of a kind that the method of signing does not carry."""
    shown = media_type[:100] or "(none)"
    return ApiError(Code.INVALID_PARAMETER, _UNSUPPORTED_MEDIA_TYPE, media_type=shown)


class _Node(dict[str, Any]):
    """An inner node of the tree, told apart from a value that is a dictionary (a JSON part)."""


def _close(value: Any) -> Any:
    if not isinstance(value, _Node):
        return value
    members = {name: _close(member) for name, member in value.items()}
    if all(_is_index(name) for name in members):
        return [members[name] for name in sorted(members, key=int)]
    return members


def _is_index(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) <= _MAX_INDEX_DIGITS


def _decode_multipart(request: HttpRequest) -> dict[str, Any]:
    fields: list[tuple[str, Any]] = []
    try:
        for part in parse_multipart(request.head.headers["content-type"], request.body):
            if len(fields) >= MAX_VALUES:
                raise ApiError(Code.INVALID_PARAMETER, _TOO_MANY, limit=MAX_VALUES)
            value = parse_json(part.content) if part.media_type == JSON else part.content.decode()
            fields.append((part.name, value))
    except UnicodeDecodeError as error:
        raise ApiError(Code.INVALID_PARAMETER, _NOT_UTF8) from error
    except MultipartError as error:
        raise ApiError(Code.INVALID_REQUEST, _BAD_MULTIPART, problem=str(error)) from error
    return decode_flat(fields)
