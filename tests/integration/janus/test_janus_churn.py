"""Publishers that come and go all the time, in sections that Janus uses again and again: never is
anything of one taken for another's."""

import asyncio
import random
from pathlib import Path

import pytest

from cloudslice.codecs.vp8 import VP8
from cloudslice.media.tracks import Keyframe
from cloudslice_publisher.encode import VideoSpec
from cloudslice_publisher.media import Look, Media, synthetic_media
from cloudslice_publisher.publisher import Publisher
from helpers.janus_stage import ROOM, JanusStage, Listener, janus_stage, owner_of, speakers
from helpers.numbered_media import speaker
from helpers.waiting import eventually

NAMES = tuple(f"p{number}" for number in range(6))
SECONDS = 20


@pytest.fixture(scope="module")
def looks() -> dict[str, Media]:
    return {
        name: synthetic_media(
            Look(name), video=VideoSpec(VP8, 320, 180, 30, 200, 0.5), audio=None, seconds=2
        )
        for name in NAMES
    }


class Watcher(Listener):
    """Asks for one key frame after the other of everybody, and keeps them."""

    def __init__(self, stage: JanusStage) -> None:
        super().__init__()
        self.keyframes: list[tuple[str, Keyframe]] = []
        self._stage = stage

    def look(self, user_id: str) -> None:
        anchor = self.anchors.get(user_id)
        if anchor is not None and anchor.video is not None:
            anchor.video.request_keyframe(
                lambda keyframe: self.keyframes.append((user_id, keyframe)),
                self._stage.clock.monotonic(),
            )


@pytest.mark.parametrize("delay_s", [0, 0.15], ids=["prompt signalling", "slow signalling"])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_nobody_is_taken_for_somebody_else(
    tmp_path: Path, looks: dict[str, Media], delay_s: float, seed: int
) -> None:
    """Slow signalling is outrun by media."""
    chance = random.Random(seed)
    async with janus_stage(tmp_path) as stage:
        stage.proxy.delay_s = delay_s
        robot = Watcher(stage)
        stay = await stage.rooms.enter(ROOM, "robot", robot)
        there: dict[str, Publisher] = {}
        loop = asyncio.get_running_loop()
        until = loop.time() + SECONDS
        while loop.time() < until:
            name = chance.choice(NAMES)
            if name in there:
                await stage.group.stop(there.pop(name))
            else:
                there[name] = await stage.publish(name, speaker(name, looks[name]))
            for each in NAMES:
                robot.look(each)
            await asyncio.sleep(chance.choice((0, 0.1, 0.4)))
        for name in NAMES:
            if name not in there:
                await stage.publish(name, speaker(name, looks[name]))
        heard = {name: robot.packets(name) for name in NAMES}
        await eventually(lambda: all(robot.packets(each) > heard[each] + 20 for each in NAMES))
        stay.leave()

    for name, sinks in robot.sinks.items():
        assert set().union(*map(speakers, sinks)) == {name}
    for name, keyframe in robot.keyframes:
        assert owner_of(keyframe, looks) == name
    assert len(robot.keyframes) > 10
    assert stage.rooms.faults.errors == 0
