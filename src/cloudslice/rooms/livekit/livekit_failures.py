"""What is wrong with a LiveKit server, or with how it is called: in words that follow its name.

No secret is in them. The server's own text of a refusal is never shown: the token stands in it.
"""

import os
import ssl

import aiohttp


def explain_refusal(body: bytes) -> str:
    """Why the server does not take our key, by what it answers with 401 or 403."""
    if body.startswith(b"invalid API key"):
        return "does not know this api_key"
    if b"(nbf)" in body or b"(exp)" in body:
        return "takes our token for one of another time: do the clocks differ?"
    if body.startswith(b"invalid token"):
        return "knows this api_key, but api_secret is not its secret"
    return "refuses this api_key"


def explain_failure(error: Exception) -> str:
    """Why there was no answer that can be read."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "cannot be reached: its host name is not known"
        case aiohttp.ClientConnectorCertificateError():
            reason = error.certificate_error
            text = reason.verify_message if isinstance(reason, ssl.SSLCertVerificationError) else ""
            return f"cannot be trusted: {text or 'its certificate is not valid'}"
        case aiohttp.ClientConnectorSSLError():
            return "cannot be reached by TLS: is it wss:// or https:// that it speaks?"
        case aiohttp.ClientConnectorError():
            number = error.os_error.errno
            return f"cannot be reached: {os.strerror(number) if number else error.os_error}"
        case aiohttp.ServerDisconnectedError():
            return "has closed the connection without an answer"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "does not speak HTTP as it should: is the URL right?"
    return f"cannot be reached: {error}"
