"""What the client says to a WHIP server, and what it makes of the answers."""

import httpx
import pytest

from cloudslice_publisher.whip import (
    WhipClient,
    WhipRefusedError,
    WhipSession,
    WhipUnreachableError,
)

ENDPOINT = "http://whip.test/room"


class Server:
    """Gives the prepared answers in order and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def client(self, **arguments: str) -> WhipClient:
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        return WhipClient(http, ENDPOINT, bearer="token", **arguments)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def created(location: str = "/sessions/1") -> httpx.Response:
    return httpx.Response(201, headers={"Location": location}, text="answer")


@pytest.mark.parametrize(
    ("location", "url"),
    [
        pytest.param("/sessions/1", "http://whip.test/sessions/1", id="absolute path"),
        pytest.param("room/1", "http://whip.test/room/1", id="relative path"),
        pytest.param("http://other.test/1", "http://other.test/1", id="another host"),
    ],
)
async def test_an_offer_becomes_a_session(location: str, url: str) -> None:
    server = Server(created(location))
    assert await server.client().offer("offer") == WhipSession("answer", url)
    [request] = server.requests
    assert (request.method, request.content) == ("POST", b"offer")
    assert request.headers["content-type"] == "application/sdp"
    assert request.headers["authorization"] == "Bearer token"
    assert "x-private-map-key" not in request.headers


async def test_a_private_map_key_goes_along() -> None:
    server = Server(created())
    await server.client(private_map_key="ticket").offer("offer")
    assert server.requests[0].headers["x-private-map-key"] == "ticket"


async def test_a_redirect_is_followed_with_the_token() -> None:
    """To the server that has the room; the session is there, too."""
    server = Server(httpx.Response(307, headers={"Location": "http://other.test/x"}), created())
    session = await server.client().offer("offer")
    assert session.url == "http://other.test/sessions/1"
    assert server.requests[1].content == b"offer"
    assert server.requests[1].headers["authorization"] == "Bearer token"


async def test_redirects_end() -> None:
    redirect = httpx.Response(307, headers={"Location": ENDPOINT})
    with pytest.raises(WhipRefusedError, match="307"):
        await Server(*[redirect] * 4).client().offer("offer")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(
            httpx.Response(401, json={"detail": "the UserSig has expired"}),
            "HTTP 401 Unauthorized: the UserSig has expired",
            id="problem",
        ),
        pytest.param(httpx.Response(404, text="no room"), "HTTP 404 Not Found: no room", id="text"),
        pytest.param(httpx.Response(503), "HTTP 503 Service Unavailable", id="nothing"),
        pytest.param(
            httpx.Response(400, headers={"Content-Type": "application/json"}, text="{"),
            "HTTP 400 Bad Request",
            id="broken JSON",
        ),
        pytest.param(httpx.Response(400, json=["no"]), "HTTP 400 Bad Request", id="other JSON"),
        pytest.param(httpx.Response(200, text="answer"), "HTTP 200 OK: answer", id="not created"),
        pytest.param(httpx.Response(201, text="answer"), "the answer has no Location", id="no way"),
    ],
)
async def test_refusals_are_explained(answer: httpx.Response, message: str) -> None:
    with pytest.raises(WhipRefusedError) as refusal:
        await Server(answer).client().offer("offer")
    assert str(refusal.value) == message
    assert refusal.value.status == answer.status_code


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("?")]
)
async def test_no_answer_is_told_apart(error: Exception) -> None:
    """The text has the address, and at least the kind of error."""
    with pytest.raises(WhipUnreachableError, match=r"http://whip\.test/room: \S"):
        await Server(error).client().offer("offer")


@pytest.mark.parametrize(
    "answer", [httpx.Response(200), httpx.Response(404), httpx.ConnectError("refused")]
)
async def test_leaving_cannot_fail(answer: httpx.Response | Exception) -> None:
    server = Server(answer)
    await server.client().end(WhipSession("answer", "http://whip.test/sessions/1"))
    [request] = server.requests
    assert (request.method, str(request.url)) == ("DELETE", "http://whip.test/sessions/1")
    assert request.headers["authorization"] == "Bearer token"
