"""The envelope around every answer (docs/wire.md, 3)."""

import json
from collections.abc import Mapping
from typing import Any

from cloudslice.api.errors import ApiError, Language


def render_success(outputs: Mapping[str, Any], request_id: str) -> bytes:
    """The body of an answer with an action's outputs."""
    return _render({**outputs, "RequestId": request_id})


def render_error(error: ApiError, language: Language, request_id: str) -> bytes:
    """The body of an answer that says what was wrong."""
    description = {"Code": error.code.value, "Message": error.message(language)}
    return _render({"Error": description, "RequestId": request_id})


def _render(response: Mapping[str, Any]) -> bytes:
    return json.dumps({"Response": response}, separators=(",", ":")).encode("ascii")
