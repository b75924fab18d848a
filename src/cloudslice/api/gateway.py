"""The API's one endpoint: an ASGI application that answers every request with an envelope."""

import time
import uuid
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from cloudslice.api.actions import Action, Outputs, action_table
from cloudslice.api.authentication import Authenticator
from cloudslice.api.callers import check_caller
from cloudslice.api.calls import Common, decode_call, decode_head
from cloudslice.api.envelope import render_error, render_success
from cloudslice.api.errors import ApiError, Code, Language, Phrase
from cloudslice.api.event_actions import EventService
from cloudslice.api.http_exchange import (
    LARGE_BODY_BYTES,
    BodyReader,
    ClientDisconnectedError,
    Head,
    HttpRequest,
    Receive,
    Scope,
    Send,
    read_head,
    send_answer,
)
from cloudslice.api.limits import RateLimiter
from cloudslice.api.regions import check_api_region
from cloudslice.api.schema import check
from cloudslice.clock import Clock
from cloudslice.config import AppSettings, CredentialSettings, LimitSettings, Settings
from cloudslice.rooms.management import RoomService
from cloudslice.tasks.model import TaskService

VERSION = "2019-07-22"
_MAX_TRACE_ID_CHARS = 128

_PROTOCOL = Phrase(
    "The HTTP method `{method}` is not supported; use GET or POST.",
    "不支持 HTTP 方法 `{method}`，请使用 GET 或 POST。",
)
_DRAINING = Phrase("The server is shutting down.", "服务正在关闭。")
_NO_SUCH_VERSION = Phrase(
    f"Version `{{version}}` does not exist; this is version `{VERSION}`.",
    f"版本 `{{version}}` 不存在，请使用 `{VERSION}`。",
)
_INVALID_ACTION = Phrase("The action `{action}` does not exist.", "接口 `{action}` 不存在。")
_TOO_MANY_REQUESTS = Phrase(
    "`{action}` may be called {limit} times a second.", "`{action}` 每秒最多调用 {limit} 次。"
)
_UNKNOWN_APP = Phrase("`SdkAppId` {app} is not served here.", "此处不提供 `SdkAppId` {app}。")
_FORBIDDEN_APP = Phrase(
    "This SecretId may not use `SdkAppId` {app}.", "此 SecretId 无权使用 `SdkAppId` {app}。"
)
_BROKEN = Phrase(
    "An internal error occurred. Retry with the same parameters, and quote the RequestId if it "
    "stays.",
    "内部错误，请使用相同参数重试；如仍失败，请提供 RequestId。",
)

_log = structlog.get_logger(__name__)


class Gateway:
    """API 3.0 of the service `trtc` as an ASGI application.

    It answers whatever the path: clients that were told an endpoint with a path sign ``/`` all the
    same. The checks run in the order of docs/wire.md, 5.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: TaskService,
        rooms: RoomService,
        events: EventService,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._actions = action_table(tasks, rooms, events, clock, settings.storage.endpoints)
        self._authenticator = Authenticator(settings.credentials, settings.api)
        self._bodies = BodyReader(
            settings.http.body_timeout_s, round(settings.http.body_memory_mib * 1024**2)
        )
        self._limiter = RateLimiter()
        self._rate_limits = {
            credential.secret_id: _rate_limit(credential, settings)
            for credential in settings.credentials
        }
        self._draining = False

    def drain(self) -> None:
        """Refuse every call from now on, because the server is about to stop."""
        self._draining = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        call = _Exchange(read_head(scope), _client_address(scope))
        with structlog.contextvars.bound_contextvars(request_id=call.request_id):
            started = time.perf_counter()
            try:
                body = render_success(await self._answer(call, receive), call.request_id)
            except ClientDisconnectedError:
                return
            except ApiError as error:
                call.code = error.code
                body = render_error(error, call.language, call.request_id)
            except Exception:  # whatever breaks in one call must not reach another
                call.code = call.action.internal_error if call.action else Code.INTERNAL_ERROR
                _log.exception("api call broke", action=call.action_name)
                body = render_error(ApiError(call.code, _BROKEN), call.language, call.request_id)
            _log.info(
                "api call",
                action=call.action_name,
                secret_id=call.secret_id,
                code=call.code or "OK",
                ms=round((time.perf_counter() - started) * 1000, 1),
            )
        await send_answer(send, body, call.trace_id, keep_alive=call.is_read)

    async def _answer(self, call: "_Exchange", receive: Receive) -> Outputs:
        if self._draining:
            raise ApiError(Code.SERVICE_UNAVAILABLE, _DRAINING)
        check_caller(call.client, self._settings.api)
        if call.head.method not in ("GET", "POST"):
            raise ApiError(Code.UNSUPPORTED_PROTOCOL, _PROTOCOL, method=call.head.method[:100])
        body = await self._bodies.read(call.head, receive, partial(self._check_sender, call.head))
        call.is_read = True
        request = HttpRequest(call.head, body)
        if len(body) > LARGE_BODY_BYTES:
            self._check_large(request)
        decoded = decode_call(request)
        call.language = decoded.language
        common = decoded.read_common()
        call.action = action = self._select(common)
        credential = self._authenticator.authenticate(decoded, common, self._now_s())
        call.secret_id = credential.secret_id
        self._limit_rate(action, credential)
        values = check(action.schema, decoded.parameters)
        parsed = action.parse(values)
        app = self._authorize(action, credential, values["SdkAppId"])
        return await action.carry_out(parsed, app)

    def _check_sender(self, head: Head) -> None:
        """Check who is about to send a large body, as far as its head tells; raises ApiError."""
        call = decode_head(head)
        common = call.read_common()
        self._select(common)
        self._authenticator.check_sender(call, common, self._now_s())

    def _check_large(self, request: HttpRequest) -> None:
        """Check a large body's signature before time is spent on what is in it."""
        call = replace(decode_head(request.head), request=request)
        self._authenticator.authenticate(call, call.read_common(), self._now_s())

    def _now_s(self) -> float:
        return self._clock.utc_ms() / 1000

    def _select(self, common: Common) -> Action:
        if common.version != VERSION:
            raise ApiError(Code.NO_SUCH_VERSION, _NO_SUCH_VERSION, version=common.version[:100])
        if common.action not in self._actions:
            raise ApiError(Code.INVALID_ACTION, _INVALID_ACTION, action=common.action[:100])
        check_api_region(common.region, self._settings.api.regions)
        return self._actions[common.action]

    def _limit_rate(self, action: Action, credential: CredentialSettings) -> None:
        limit = self._rate_limits[credential.secret_id]
        key = (credential.secret_id, action.name)
        if not self._limiter.admit(key, limit, self._clock.monotonic()):
            raise ApiError(
                Code.REQUEST_LIMIT_EXCEEDED, _TOO_MANY_REQUESTS, action=action.name, limit=limit
            )

    def _authorize(
        self, action: Action, credential: CredentialSettings, sdk_app_id: int
    ) -> AppSettings:
        app = self._settings.app(sdk_app_id)
        if app is None:
            raise ApiError(Code.INVALID_SDK_APP_ID, _UNKNOWN_APP, app=sdk_app_id)
        if sdk_app_id not in credential.sdk_app_ids:
            raise ApiError(action.forbidden, _FORBIDDEN_APP, app=sdk_app_id)
        return app


class _Exchange:
    """What is known of one call so far, for its answer and its log line."""

    def __init__(self, head: Head, client: str) -> None:
        self.head = head
        self.client = client
        self.request_id = str(uuid.uuid4())
        self.language = Language.of(head.headers.get("x-tc-language", ""))
        self.trace_id = _printable(head.headers.get("x-tc-traceid", ""))[:_MAX_TRACE_ID_CHARS]
        self.is_read = False
        self.action: Action | None = None
        self.secret_id = ""
        self.code: Code | None = None

    @property
    def action_name(self) -> str:
        return self.action.name if self.action else ""


def _rate_limit(credential: CredentialSettings, settings: Settings) -> int:
    """The limit comes before the parameters are looked at, so before the app is known: a
    credential for several apps has the most that one of them allows."""
    apps = (settings.app(sdk_app_id) for sdk_app_id in credential.sdk_app_ids)
    limits = [app.limits.requests_per_second for app in apps if app is not None]
    return max(limits, default=LimitSettings().requests_per_second)


def _client_address(scope: Scope) -> str:
    client: Any = scope.get("client")
    return client[0] if client else ""


def _printable(text: str) -> str:
    return text if text.isascii() and text.isprintable() else ""
