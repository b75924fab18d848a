"""Why a server gave no answer that can be read, in words that follow its name.

Neither a secret is in them nor what the server has sent: they are shown to the API's user.
"""

import os
import ssl

import aiohttp

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")
"""What OpenSSL says of an answer that is no TLS, before 3.2 and since."""


def explain_failure(error: Exception) -> str:
    """What an error of aiohttp or of the system means for whoever has just set a URL."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "cannot be reached: its host name is not known"
        case aiohttp.ClientConnectorCertificateError():
            reason = error.certificate_error
            text = reason.verify_message if isinstance(reason, ssl.SSLCertVerificationError) else ""
            return f"cannot be trusted: {text or 'its certificate is not valid'}"
        case aiohttp.ClientConnectorSSLError():
            if getattr(error.os_error, "reason", "") in _NO_TLS:
                return "does not speak TLS on this port: try ws://"
            return "cannot be reached by TLS: the handshake fails"
        case aiohttp.ClientProxyConnectionError():
            return f"cannot be reached: its proxy: {_explain_os_error(error.os_error)}"
        case aiohttp.ClientHttpProxyError():
            return f"cannot be reached: its proxy answered with HTTP status {error.status}"
        case aiohttp.ClientConnectorError():
            return f"cannot be reached: {_explain_os_error(error.os_error)}"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError():
            return "has closed the connection without an answer"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "does not speak HTTP as it should: is the URL right?"
        case OSError():
            return f"cannot be reached: {_explain_os_error(error)}"
    return f"cannot be reached: {error}"


def _explain_os_error(error: OSError) -> str:
    # Its own text has addresses in it, and lists of them.
    return os.strerror(error.errno) if error.errno else str(error)
