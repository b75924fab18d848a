"""The client's side of WHIP (RFC 9725): an offer for an answer, and a goodbye."""

from dataclasses import dataclass
from http import HTTPStatus

import httpx

_MAX_REDIRECTS = 3
_SDP = "application/sdp"


class WhipError(Exception):
    """The server did not take the offer; the text says why."""


class WhipUnreachableError(WhipError):
    """No HTTP answer could be had."""


class WhipRefusedError(WhipError):
    """The server answered, with something else than an SDP answer.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class WhipSession:
    """What a server said to an offer: its SDP answer, and the URL that ends the session."""

    answer: str
    url: str


class WhipClient:
    """Talks to one WHIP endpoint.

    Args:
        http: does the talking; may be shared.
        endpoint: the URL that takes offers.
        bearer: the token that it wants (RFC 6750); of cloudslice, a UserSig.
        private_map_key: the room's permission ticket, where the server wants one.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        endpoint: str,
        *,
        bearer: str,
        private_map_key: str | None = None,
    ) -> None:
        self._http = http
        self._endpoint = endpoint
        self._headers = {"Authorization": f"Bearer {bearer}"}
        if private_map_key is not None:
            self._headers["X-Private-Map-Key"] = private_map_key

    async def offer(self, sdp: str) -> WhipSession:
        """Offer `sdp`.

        Raises:
            WhipUnreachableError: no answer.
            WhipRefusedError: another answer than 201 with SDP and a Location.
        """
        url = httpx.URL(self._endpoint)
        for _ in range(1 + _MAX_REDIRECTS):
            response = await self._post(url, sdp)
            # RFC 9725, 4.5: 307 to the server that has the room. httpx itself would leave the
            # token behind when the host changes, and without it the way there is of no use.
            if response.status_code not in (307, 308) or "location" not in response.headers:
                break
            url = url.join(response.headers["location"])
        if response.status_code != HTTPStatus.CREATED:
            raise WhipRefusedError(_explain(response), response.status_code)
        if "location" not in response.headers:
            raise WhipRefusedError("the answer has no Location", response.status_code)
        return WhipSession(response.text, str(url.join(response.headers["location"])))

    async def end(self, session: WhipSession) -> None:
        """End the session; a server that is gone or has ended it itself is no error."""
        try:
            await self._http.delete(session.url, headers=self._headers)
        except httpx.TransportError:
            return

    async def _post(self, url: httpx.URL, sdp: str) -> httpx.Response:
        try:
            return await self._http.post(
                url,
                content=sdp,
                headers=self._headers | {"Content-Type": _SDP},
                follow_redirects=False,
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise WhipUnreachableError(f"{url.copy_with(query=None)}: {reason}") from error


def _explain(response: httpx.Response) -> str:
    """The status, and what an RFC 9457 problem or a short text says of it."""
    line = f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
    detail = response.text.strip()
    if "json" in response.headers.get("content-type", ""):
        try:
            problem = response.json()
        except ValueError:
            problem = None
        detail = str(problem.get("detail", "")) if isinstance(problem, dict) else ""
    return f"{line}: {detail[:200]}" if detail else line
