"""Calls the API of the running server, with the settings' own credentials."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from cloudslice.api.gateway import VERSION
from cloudslice.api.signing import sign_call
from cloudslice.cli.common import base_url, fail
from cloudslice.config import AppSettings, Settings

_TIMEOUT_S = 30.0
_LIMITED = "RequestLimitExceeded"
_LIMITED_PAUSE_S = 0.5


class ApiClient:
    """Calls the server on behalf of an operator, who reads the errors: each ends the command."""

    def __init__(self, settings: Settings, app: AppSettings, url: str | None) -> None:
        """
        Args:
            settings: have a credential that may use the app, or the command ends.
            app: the app that all calls are about.
            url: the server's, if not that of the settings' `listen`.
        """
        credential = next(
            (each for each in settings.credentials if app.sdk_app_id in each.sdk_app_ids), None
        )
        if credential is None:
            fail(f"the settings have no credential that may use sdk_app_id {app.sdk_app_id}")
        self._credential = credential
        self._app = app
        self._url = (url or base_url(settings)).rstrip("/")
        self._region = settings.api.regions[0]
        self._service = settings.api.services[0] if settings.api.services else "trtc"

    def call(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of an action. Waits while the server says that there are too many calls."""
        while True:
            response = self._post(action, parameters)
            error = response.get("Error")
            if error is None:
                return response
            if error["Code"] != _LIMITED:
                fail(f"{self._url} answers {error['Code']}: {error['Message']}")
            time.sleep(_LIMITED_PAUSE_S)

    def _post(self, action: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps({"SdkAppId": self._app.sdk_app_id, **parameters}).encode()
        headers = sign_call(
            action,
            body,
            version=VERSION,
            region=self._region,
            host=urlsplit(self._url).netloc,
            service=self._service,
            secret_id=self._credential.secret_id,
            secret_key=self._credential.secret_key.get_secret_value(),
            now_s=int(time.time()),
        )
        try:
            answer = httpx.post(
                self._url, content=body, headers=headers, timeout=_TIMEOUT_S, trust_env=False
            )
            response: dict[str, Any] = answer.json()["Response"]
        except httpx.HTTPError as error:
            fail(f"no server answers at {self._url} ({error}); is `cloudslice serve` running?")
        except (ValueError, KeyError, TypeError):
            fail(f"what answers at {self._url} is no cloudslice")
        return response
