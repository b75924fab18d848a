"""Settings of the servers that have an app's rooms, where these are not our own."""

from pydantic import SecretStr

from cloudslice.settings.section import Section


class LivekitSettings(Section):
    """A LiveKit server."""

    url: str = ""
    api_key: str = ""
    api_secret: SecretStr = SecretStr("")


class JanusSettings(Section):
    """A Janus gateway with the VideoRoom plugin."""

    url: str = ""
    api_secret: SecretStr = SecretStr("")
    """What each request to Janus carries; none without it."""
