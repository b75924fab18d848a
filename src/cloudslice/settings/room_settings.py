"""Settings of the servers that have an app's rooms, where these are not our own."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr

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
    e2ee_key: SecretText = SecretStr("")
    """The passphrase that members encrypt with from end to end. What is encrypted is left out
    without it."""
    video_on_demand: bool = True
    """Whether the server sends a video only when a picture of it is due."""


class JanusSettings(Section):
    """A Janus gateway with the VideoRoom plugin."""

    url: ServerUrl = ""
    api_secret: SecretText = SecretStr("")
    """What each request to Janus carries; none without it."""
    string_ids: bool = False
    """Whether its rooms and participants have texts for ids (string_ids in
    janus.plugin.videoroom.jcfg)."""
    pin: SecretText = SecretStr("")
    """What it takes to enter a room; none without it."""
    room_secret: SecretText = SecretStr("")
    """What it takes to put people out of a room and to end it; none without it."""
    user_id: Literal["id", "display"] = "id"
    """Of what an anchor's UserId is made."""
    display: Annotated[str, Field(min_length=1, max_length=64)] = "cloudslice"
    """What others see of us."""
    video_on_demand: bool = True
    """Whether video is sent to us only while a picture is due."""
    create_rooms: bool = False
    """Whether a room that does not exist is made."""
    admin_key: SecretText = SecretStr("")
    """What it takes to make a room; none without it."""
