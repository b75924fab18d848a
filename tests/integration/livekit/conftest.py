"""One LiveKit server for the tests that do not end it."""

from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest

from helpers.livekit_process import LivekitProcess
from helpers.livekit_stage import LivekitStage, livekit_stage

_numbers = count()


@pytest.fixture(scope="session")
def livekit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LivekitProcess]:
    with LivekitProcess(tmp_path_factory.mktemp("livekit")) as process:
        yield process


@pytest.fixture
def room_id() -> str:
    """Of a room of the test's own."""
    return f"room-{next(_numbers)}"


@pytest.fixture
async def stage(livekit: LivekitProcess, room_id: str) -> AsyncIterator[LivekitStage]:
    async with livekit_stage(livekit, room_id) as opened:
        yield opened
