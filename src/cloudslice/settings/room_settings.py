"""Settings of the servers that have an app's rooms, where these are not our own."""

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from cloudslice.settings.name_template import NameTemplate
from cloudslice.settings.section import Section
from cloudslice.settings.values import SecretText, ServerUrl


def _with_place(place: str) -> Callable[[str], str]:
    """A check that a text is a template with that place."""

    def check(text: str) -> str:
        NameTemplate.parse(text, place)
        return text

    return check


class LivekitSettings(Section):
    """A LiveKit server."""

    url: ServerUrl = ""
    api_key: str = ""
    api_secret: SecretText = SecretStr("")
    room_name: Annotated[str, AfterValidator(_with_place("RoomId"))] = "{RoomId}"
    """What LiveKit calls a room."""
    identity: Annotated[str, AfterValidator(_with_place("UserId"))] = "{UserId}"
    """What LiveKit calls a member."""
    video_on_demand: bool = True
    """Whether the server sends a video only when a picture of it is due."""


class JanusSettings(Section):
    """A Janus gateway with the VideoRoom plugin."""

    url: ServerUrl = ""
    api_secret: SecretText = SecretStr("")
    """What each request to Janus carries; none without it."""
