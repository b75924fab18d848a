"""Why a LiveKit server refuses us, in words that follow its name.

No secret is in them. The server's own text of a refusal is never shown: the token stands in it.
"""

_REFUSALS = (
    b"permissions denied",
    b"invalid authorization",
    b'"unauthenticated"',
    b'"permission_denied"',
)
"""LiveKit's words (livekit-server, `auth.go`), and Twirp's codes."""


def explain_refusal(body: bytes) -> str | None:
    """Why the server does not take our key, by what it answers with 401 or 403. None if it is not
    LiveKit that answers so."""
    if body.startswith(b"invalid API key"):
        return "does not know this api_key"
    if b"(nbf)" in body or b"(exp)" in body:
        return "takes our token for one of another time: do the clocks differ?"
    if body.startswith(b"invalid token"):
        return "knows this api_key, but api_secret is not its secret"
    return "refuses this api_key" if any(each in body for each in _REFUSALS) else None
