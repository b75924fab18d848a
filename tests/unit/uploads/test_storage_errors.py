"""What answers and silences are told as."""

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
from multidict import CIMultiDict
from yarl import URL

from cloudslice.uploads.storage_errors import (
    Answer,
    StorageError,
    explain_answer,
    explain_silence,
)

XML = '<?xml version="1.0"?>\n<Error><Code>{}</Code><Message>{}</Message><Key>k</Key></Error>'


def explain(status: int, body: str = "", **headers: str) -> StorageError:
    names = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return explain_answer(Answer(status, names, body.encode()), hide=("SK", "AK", ""))


@pytest.mark.parametrize(
    ("status", "body", "message", "refused"),
    [
        pytest.param(403, XML.format("AccessDenied", "Access Denied."),
                     "AccessDenied: Access Denied.", True, id="refused"),
        pytest.param(404, XML.format("NoSuchBucket", "No &amp; such."),
                     "NoSuchBucket: No & such.", True, id="no bucket, escaped text"),
        pytest.param(503, XML.format("SlowDown", "Reduce."),
                     "SlowDown: Reduce.", False, id="busy: may pass"),
        pytest.param(400, XML.format("RequestTimeout", "Idle."),
                     "RequestTimeout: Idle.", False, id="the connection's fault: may pass"),
        pytest.param(400, XML.format("AuthorizationHeaderMalformed", "Wrong.<Region>r-2</Region>"),
                     "AuthorizationHeaderMalformed: The store gave no reason. (region r-2)", True,
                     id="another region"),
        pytest.param(502, "<html>oops</html>",
                     "Http502: The store gave no reason.", False, id="a proxy's answer"),
        pytest.param(403, XML.format("InvalidKey", "AK and SK are bad"),
                     "InvalidKey: *** and *** are bad", True, id="credentials are hidden"),
        pytest.param(403, XML.format("Lines", "one\n\ttwo\x00 &#xd800;"),
                     "Lines: one two \ufffd", True, id="one line that can be shown"),
        pytest.param(500, "<Code>Cut</Code><Message>with", "Cut: The store gave no reason.", False,
                     id="cut off"),
    ],
)  # fmt: skip
def test_answers_are_told_in_the_stores_words(
    status: int, body: str, message: str, refused: bool
) -> None:
    error = explain(status, body)
    assert (error.status, str(error), error.refused) == (status, message, refused)


def test_a_long_text_is_cut_but_no_secret_with_it() -> None:
    """What is hidden is hidden before the cut, of which half a secret could be left."""
    error = explain(403, XML.format("Long", "x" * 499 + "SK"))
    assert error.text == "x" * 499 + "*"


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_redirects_are_refusals(status: int) -> None:
    """They tell where they lead, without a query, which may hold anything."""
    error = explain(status, Location="https://login.example.com/x?token=1")
    assert error.refused
    assert str(error) == (
        f"Http{status}: The store gave no reason. (endpoint https://login.example.com)"
    )


@pytest.mark.parametrize("location", ["", "/login", "https://[", "http:"])
def test_a_redirect_to_nowhere(location: str) -> None:
    assert explain(302, Location=location).text == "The store gave no reason."


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        pytest.param(503, "17", 17, id="seconds"),
        pytest.param(429, "0", 0, id="at once"),
        pytest.param(503, "999999999", 3600, id="an hour at most"),
        pytest.param(503, "9" * 5000, None, id="no number"),
        pytest.param(503, "-1", None, id="negative"),
        pytest.param(503, "soon", None, id="no time"),
        pytest.param(503, "Wed, 21 Oct 2015 07:28:00 GMT", 0, id="in the past"),
        pytest.param(500, "17", None, id="not of that status"),
        pytest.param(503, "", None, id="empty"),
    ],
)
def test_when_to_come_again(status: int, text: str, expected: int | None) -> None:
    assert explain(status, Retry_After=text).retry_after_s == expected


def test_when_to_come_again_as_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    wait_s = explain(503, Retry_After=date).retry_after_s
    assert wait_s is not None
    assert 25 <= wait_s <= 31


def connector_error(error: OSError) -> aiohttp.ClientConnectorError:
    key = aiohttp.client_reqrep.ConnectionKey("h", 443, True, True, None, None, None)
    if isinstance(error, ssl.SSLCertVerificationError):
        return aiohttp.ClientConnectorCertificateError(key, error)
    if isinstance(error, ssl.SSLError):
        return aiohttp.ClientConnectorSSLError(key, error)
    return aiohttp.ClientConnectorError(key, error)


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text (_ssl.c:1)")
    error.reason = reason
    return error


def certificate_error(message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "text")
    error.verify_message = message
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(TimeoutError(), "Timeout: The store did not answer in time.", id="timeout"),
        pytest.param(
            connector_error(ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)")),
            "ConnectionFailed: The store cannot be reached: Connection refused.",
            id="nobody listens",
        ),
        pytest.param(
            connector_error(OSError(-2, "Name or service not known")),
            "ConnectionFailed: The store cannot be reached: Name or service not known.",
            id="no such host",
        ),
        pytest.param(
            connector_error(certificate_error("unable to get local issuer certificate")),
            "ConnectionFailed: The store cannot be reached: "
            "certificate verify failed: unable to get local issuer certificate.",
            id="private CA",
        ),
        pytest.param(
            connector_error(tls_error("WRONG_VERSION_NUMBER")),
            "ConnectionFailed: The store cannot be reached: TLS: wrong version number.",
            id="no TLS there",
        ),
        pytest.param(
            aiohttp.ServerDisconnectedError(),
            "ConnectionFailed: The store cannot be reached: Server disconnected.",
            id="hangs up",
        ),
        pytest.param(
            aiohttp.ClientOSError(104, "x"),
            "ConnectionFailed: The store cannot be reached: Connection reset by peer.",
            id="reset",
        ),
        pytest.param(
            aiohttp.ClientHttpProxyError(None, (), status=407),  # type: ignore[arg-type]
            "ConnectionFailed: The store cannot be reached: the proxy answered 407.",
            id="proxy",
        ),
        pytest.param(
            aiohttp.ClientResponseError(None, (), status=400, message="Bad status line SK"),  # type: ignore[arg-type]
            "ConnectionFailed: The store cannot be reached: not HTTP: Bad status line ***.",
            id="not HTTP",
        ),
        pytest.param(
            aiohttp.ClientPayloadError(),
            "ConnectionFailed: The store cannot be reached: ClientPayloadError.",
            id="no reason known",
        ),
        pytest.param(
            ValueError("a header has a line break"),
            "InvalidRequest: The request cannot be made: a header has a line break.",
            id="not even asked",
        ),
    ],
)
def test_silence_is_told_with_its_reason(error: Exception, message: str) -> None:
    told = explain_silence(error, hide=("SK",))
    assert (told.status, str(told), told.refused) == (0, message, False)


def test_no_url_is_told() -> None:
    """An internal URL helps nobody."""
    info = aiohttp.RequestInfo(URL("http://h/key"), "PUT", CIMultiDict())  # type: ignore[arg-type, call-arg]
    assert "http://" not in str(explain_silence(aiohttp.ClientResponseError(info, ()), ()))


def test_a_date_that_overflows_is_no_wish() -> None:
    """A store may send anything."""
    date = "Mon, 01 Jan 2020 00:00:00 +99999999999999"
    assert explain(503, Retry_After=date).retry_after_s is None
