"""An HTTP request read as an API call: its common parameters and those of its action.

There are two ways to say the common ones, and the way of signing decides (docs/wire.md, 2.1):
headers ``X-TC-...`` with TC3-HMAC-SHA256, fields of the query or form with the older v1 signatures.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from cloudslice.api.encodings import (
    Encoding,
    Parameters,
    decode_body,
    decode_flat,
    decode_form,
    decode_query,
    unsupported_media_type,
)
from cloudslice.api.errors import ApiError, Code, Language, Phrase, missing_parameter
from cloudslice.api.http_exchange import Head, HttpRequest

_HEADERS = {
    "Action": "x-tc-action",
    "Version": "x-tc-version",
    "Timestamp": "x-tc-timestamp",
    "Region": "x-tc-region",
    "Token": "x-tc-token",
    "Language": "x-tc-language",
    "Authorization": "authorization",
}
_FIELDS = (
    *("Action", "Version", "Timestamp", "Region", "Token", "Language", "Nonce"),
    *("SecretId", "Signature", "SignatureMethod", "RequestClient"),
)
_TC3_REQUIRED = ("Action", "Version", "Timestamp", "Region", "Authorization")
_V1_REQUIRED = ("SecretId", "Signature", "Timestamp", "Nonce", "Action", "Version", "Region")

# What some clients send for a region that was never set.
_UNSET_REGIONS = frozenset({"null", "undefined"})

_DECIMAL = re.compile(r"[0-9]{1,20}", re.ASCII)
_NOT_AN_INTEGER = Phrase(
    "The value type of parameter `{name}` is not valid, input type should be `integer`.",
    "参数 `{name}` 的类型不正确，应为 `integer`。",
)


@dataclass(frozen=True, slots=True)
class Common:
    """The common parameters that every call has, whichever way it says them."""

    action: str
    version: str
    region: str
    timestamp: int
    """Unix seconds at which the client says it signed."""
    token: str
    """Of temporary keys; empty without."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request taken apart, nothing in it checked yet.

    Attributes:
        form: all fields of a v1 call, which its signature covers; None with TC3.
        common_texts: the common parameters that are given, by name.
        parameters: the action's own.
    """

    request: HttpRequest
    form: Mapping[str, str] | None
    common_texts: Mapping[str, str]
    parameters: Parameters

    @property
    def language(self) -> Language:
        """The language in which the caller wants messages."""
        return Language.of(self.common_texts.get("Language", ""))

    def read_common(self) -> Common:
        """The common parameters.

        Raises:
            ApiError: one is missing, or no integer where it must be one.
        """
        texts = self.common_texts
        for name in _TC3_REQUIRED if self.form is None else _V1_REQUIRED:
            if not texts.get(name) or (name == "Region" and texts[name] in _UNSET_REGIONS):
                raise missing_parameter(name)
        for name in ("Timestamp", "Nonce"):
            if name in texts and not _DECIMAL.fullmatch(texts[name]):
                raise ApiError(Code.INVALID_PARAMETER, _NOT_AN_INTEGER, name=name)
        return Common(
            action=texts["Action"],
            version=texts["Version"],
            region=texts["Region"],
            timestamp=int(texts["Timestamp"]),
            token=texts.get("Token", ""),
        )


def decode_head(head: Head) -> Call:
    """What the head of a POST tells of a call: all common parameters, if it is signed with TC3.

    Raises:
        ApiError: it is not, so that only its body could tell.
    """
    if not _is_tc3(head):
        raise unsupported_media_type(head.media_type)
    return Call(HttpRequest(head, b""), None, _common_headers(head), Parameters({}, Encoding.JSON))


def decode_call(request: HttpRequest) -> Call:
    """Take `request` apart.

    Raises:
        ApiError: its query or body cannot be read, or not with its way of signing.
    """
    if not _is_tc3(request.head):
        form = decode_form(request)
        return Call(request, form, _common_fields(form), _action_fields(form))
    common = _common_headers(request.head)
    if request.head.method == "POST":
        return Call(request, None, common, decode_body(request))
    # Generic clients put common parameters into the query too; the headers count.
    query = decode_query(request.head.query)
    return Call(request, None, _common_fields(query) | common, _action_fields(query))


def _is_tc3(head: Head) -> bool:
    # Without Authorization, X-TC-Action still tells what was meant: v1 clients never send it.
    authorization = head.headers.get("authorization", "")
    return authorization.startswith("TC3-HMAC-SHA256") or "x-tc-action" in head.headers


def _common_headers(head: Head) -> dict[str, str]:
    headers = head.headers
    return {name: headers[header] for name, header in _HEADERS.items() if header in headers}


def _common_fields(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: fields[name] for name in _FIELDS if name in fields}


def _action_fields(fields: Mapping[str, str]) -> Parameters:
    own = ((name, value) for name, value in fields.items() if name not in _FIELDS)
    return Parameters(decode_flat(own), Encoding.FLAT)
