"""WebRTC stacks that nobody here wrote publish to a real node: slices are right whoever sends.

Each client publishes with each of its codecs straight to the node, and through a relay that loses,
reorders and repeats packets and changes the client's ports in mid-stream.
"""

import asyncio
import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from itertools import groupby, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from helpers.files import assert_shows_bars, assert_tools_accept, decode_picture
from helpers.lossy_relay import Weather
from helpers.node import BUCKET, CALLBACK_KEY, STORAGE, Node, Sdk, create_parameters
from helpers.publisher_media import HEIGHT, WIDTH, PublisherMedia
from helpers.publisher_programs import (
    FFMPEG_WITH_ITS_OWN_CERTIFICATE,
    PUBLISHERS,
    Order,
    Published,
    PublisherProgram,
)
from helpers.webhooks import WebhookReceiver
from helpers.whip_relay import whip_relay

pytestmark = [pytest.mark.timeout(150), pytest.mark.interop]

_SECONDS = 17
"""Time for an audio slice, a part of another one, and four pictures."""
_PATHS: dict[str, Weather | None] = {
    "direct": None,
    "relay": Weather(loss=0.02, repeat=0.01, late=0.05, late_s=0.03, rebind_after_s=4),
}
_OPUS_MS = 20
_BLOCK = 960
_LENGTH_TOLERANCE_MS = 100
_TIME_TOLERANCE_MS = 400
"""A browser's capture may stand still for a moment on a busy machine."""
_SILENT = 0.3
"""Below this part of the usual loudness 20 ms are silent."""
_MAX_SILENCE = 0.04
"""The part of all blocks of 20 ms."""
_MAX_HOLE_MS = 300


@dataclass(frozen=True)
class Performance:
    """What a client has done, and what has come of it."""

    program: PublisherProgram
    weather: Weather | None
    published: Published
    files: list[dict[str, Any]]
    """Payloads of the events 1004, in order."""
    bucket: Path

    @property
    def audio(self) -> list[dict[str, Any]]:
        found = [each for each in self.files if each["MediaType"] == 1]
        return sorted(found, key=lambda each: int(each["StartTimeStamp"]))

    @property
    def pictures(self) -> list[dict[str, Any]]:
        return [each for each in self.files if each["MediaType"] == 2]

    @property
    def silences(self) -> list[bool]:
        """For each 20 ms of all audio whether it is silent."""
        samples = np.concatenate([self.decode(each) for each in self.audio])
        blocks = samples[: samples.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK).astype(float)
        loudness = np.sqrt(np.mean(blocks**2, axis=1))
        silences: list[bool] = (loudness < _SILENT * np.median(loudness)).tolist()
        return silences

    def read(self, payload: dict[str, Any]) -> bytes:
        return (self.bucket / payload["FileName"]).read_bytes()

    def decode(self, payload: dict[str, Any]) -> npt.NDArray[np.int16]:
        """By libopus: mono samples at 48 kHz."""
        command = "ffmpeg -v error -c:a libopus -i - -f s16le -ac 1 -ar 48000 -"
        data = self.read(payload)
        pcm = subprocess.run(command.split(), input=data, stdout=subprocess.PIPE, check=True).stdout
        return np.frombuffer(pcm, np.int16)


@dataclass(frozen=True)
class Rehearsal:
    """All performances of one client, on a node of its own; what failed has its exception."""

    performances: dict[tuple[str, str], Performance | BaseException]
    not_authentic: float
    anchors_left: float


Rehearse = Callable[[str], Rehearsal]


@pytest.fixture(scope="module")
def rehearse(media: PublisherMedia, tmp_path_factory: pytest.TempPathFactory) -> Rehearse:
    """Have a client publish in all ways side by side; once."""
    done: dict[str, Rehearsal] = {}

    def rehearse(name: str) -> Rehearsal:
        if PUBLISHERS[name].missing is not None:
            pytest.skip(
                f"{name} needs {PUBLISHERS[name].missing}: see scripts/install-publishing-clients"
            )
        if name not in done:
            directory = tmp_path_factory.mktemp(name)
            done[name] = asyncio.run(_rehearse(PUBLISHERS[name], media, directory))
        return done[name]

    return rehearse


async def _rehearse(program: PublisherProgram, media: PublisherMedia, directory: Path) -> Rehearsal:
    async with _Stage.open(program, media, directory) as stage:
        all_ways = list(product(program.codecs, program.paths))
        performances = await asyncio.gather(
            *(stage.perform(*way) for way in all_ways), return_exceptions=True
        )
        return Rehearsal(
            dict(zip(all_ways, performances, strict=True)),
            not_authentic=stage.node.metric("cloudslice_media_total", what="not_authentic"),
            anchors_left=stage.node.metric("cloudslice_anchors", rooms="builtin"),
        )


@dataclass(frozen=True)
class _Stage:
    program: PublisherProgram
    media: PublisherMedia
    node: Node
    receiver: WebhookReceiver
    bucket: Path

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, program: PublisherProgram, media: PublisherMedia, directory: Path
    ) -> AsyncIterator["_Stage"]:
        buckets = directory / "buckets"
        endpoint = f'[storage.endpoints]\ncos = "{buckets.as_uri()}"'
        async with WebhookReceiver(CALLBACK_KEY) as receiver:
            with Node(directory / "node", receiver.url, more_settings=endpoint) as node:
                await asyncio.to_thread(node.start)
                yield cls(program, media, node, receiver, buckets / BUCKET)

    async def perform(self, codec: str, path: str) -> Performance:
        """A task, a client that publishes and leaves, and what the task has delivered then."""
        sdk = Sdk(self.node)
        parameters = create_parameters(
            f"{codec}-{path}", f"robot-{codec}-{path}", STORAGE, room_id_type=0, SliceImageType=1
        )
        task_id = await asyncio.to_thread(sdk.create, parameters)
        weather = _PATHS[path]
        weather = weather and replace(weather)
        published = await self._publish(f"{codec}-{path}", codec, weather)
        await asyncio.to_thread(sdk.delete, task_id)
        await self.receiver.wait_for(lambda r: 1005 in _types(r.of_task(task_id)))
        events = self.receiver.of_task(task_id)
        files = [each["EventInfo"]["Payload"] for each in events if each["EventType"] == 1004]
        return Performance(self.program, weather, published, files, self.bucket)

    async def _publish(self, room: str, codec: str, weather: Weather | None) -> Published:
        where = self.node.anchor(room, "alice", room_id_type=0)
        media = self.media
        video = (media.quick_video if self.program.ignores_pli else media.video)[codec]
        order = Order(where.url, where.bearer, codec, str(media.audio), str(video), _SECONDS)
        if weather is None:
            return await self.program.publish(order)
        async with whip_relay(self.node.url, weather) as url:
            relayed = replace(order, url=order.url.replace(self.node.url, url))
            return await self.program.publish(relayed)


def _types(events: list[dict[str, Any]]) -> set[int]:
    return {event["EventType"] for event in events}


def ways(*, only: str = "*", without_pauses: bool = False) -> pytest.MarkDecorator:
    """Parametrise by performances whose id matches `only`.

    Args:
        only: a pattern of ids.
        without_pauses: those only whose sound has none.
    """
    cases = []
    for name, program in PUBLISHERS.items():
        if program.has_pauses and without_pauses:
            continue
        for way in product(program.codecs, program.paths):
            case = "-".join((name, *way))
            if fnmatch(case, only):
                cases.append(pytest.param((name, *way), id=case))
    return pytest.mark.parametrize("performance", cases, indirect=True)


@pytest.fixture
def performance(request: pytest.FixtureRequest, rehearse: Rehearse) -> Performance:
    name, codec, path = request.param
    performance = rehearse(name).performances[codec, path]
    if isinstance(performance, BaseException):
        raise performance
    return performance


@ways()
def test_audio_is_as_long_as_what_was_sent(performance: Performance, tmp_path: Path) -> None:
    assert performance.audio
    for each in performance.audio:
        assert_tools_accept(performance.read(each), tmp_path)
    heard_ms = sum(performance.decode(each).size / 48 for each in performance.audio)
    sent_ms = performance.published.audio_packets * _OPUS_MS
    life_ms = performance.published.stopped_ms - performance.audio[0]["StartTimeStamp"]
    assert heard_ms > sent_ms - _LENGTH_TOLERANCE_MS
    # A capture that stands still sends nothing meanwhile, and time goes on.
    assert heard_ms < max(sent_ms, life_ms) + _LENGTH_TOLERANCE_MS


@ways(without_pauses=True)
def test_what_came_is_heard(performance: Performance) -> None:
    """Whatever was lost: a lost packet is concealed."""
    assert np.mean(performance.silences) < _MAX_SILENCE


@ways(without_pauses=True)
def test_there_is_no_hole_in_the_sound(performance: Performance) -> None:
    """Not when the client's ports change, either."""
    longest = max(
        (len(list(run)) for silent, run in groupby(performance.silences) if silent), default=0
    )
    assert longest * _OPUS_MS < _MAX_HOLE_MS


@ways()
def test_times_are_those_of_life(performance: Performance) -> None:
    """Slices follow each other, and the last one ends when the client has stopped."""
    for this, following in pairwise(performance.audio):
        assert following["StartTimeStamp"] == this["EndTimeStamp"]
    end_ms = max(each["EndTimeStamp"] for each in performance.audio)
    assert end_ms == pytest.approx(performance.published.stopped_ms, abs=_TIME_TOLERANCE_MS)


@ways()
def test_pictures_show_what_was_sent(performance: Performance) -> None:
    assert len(performance.pictures) >= (3 if performance.weather is None else 1)
    for each in performance.pictures:
        picture = decode_picture(performance.read(each))
        if not performance.program.has_own_picture:
            assert picture.shape[:2] == (HEIGHT, WIDTH)
            assert_shows_bars(picture)


@ways(only="*-relay")
def test_pictures_go_on_after_a_change_of_ports(performance: Performance) -> None:
    assert performance.weather is not None
    assert performance.weather.rebound_at is not None
    last_ms = max(each["StartTimeStamp"] for each in performance.pictures)
    assert last_ms > performance.weather.rebound_at * 1000


@ways()
def test_goodbye_is_answered(performance: Performance) -> None:
    assert performance.published.delete_status in (200, 404, None)


@pytest.mark.parametrize("name", PUBLISHERS)
def test_all_have_left_and_every_packet_was_authentic(name: str, rehearse: Rehearse) -> None:
    rehearsal = rehearse(name)
    assert rehearsal.not_authentic == 0
    assert rehearsal.anchors_left == 0


async def test_why_a_handshake_failed_is_in_the_log(media: PublisherMedia, tmp_path: Path) -> None:
    """FFmpeg built with GnuTLS makes a certificate of a curve that OpenSSL 4 refuses."""
    program = FFMPEG_WITH_ITS_OWN_CERTIFICATE
    async with _Stage.open(program, media, tmp_path) as stage:
        with contextlib.suppress(AssertionError):
            await stage.perform("H264", "direct")
            return  # it connects: all the better
        assert re.search(r"(?i)certificate|curve|\bkey\b", stage.node.log)
