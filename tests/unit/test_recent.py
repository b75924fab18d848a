"""What is expensive is asked for once in a while, and by one at a time."""

import asyncio

import pytest

from cloudslice.recent import Recent


class Source:
    """Counts how often it was asked; its clock is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0
        self.is_broken = False
        self.recent = Recent(self.ask, 1.0, clock=lambda: self.now)

    async def ask(self) -> int:
        await asyncio.sleep(0)
        self.asked += 1
        if self.is_broken:
            raise ConnectionError
        return self.asked


async def test_it_is_asked_for_once_in_its_time() -> None:
    source = Source()
    assert await source.recent.get() == 1
    source.now = 0.9
    assert await source.recent.get() == 1
    source.now = 1.0
    assert await source.recent.get() == 2


async def test_many_at_once_share_one_answer() -> None:
    source = Source()
    assert set(await asyncio.gather(*(source.recent.get() for _ in range(50)))) == {1}
    assert source.asked == 1


async def test_a_failure_is_not_kept() -> None:
    source = Source()
    source.is_broken = True
    with pytest.raises(ConnectionError):
        await source.recent.get()
    source.is_broken = False
    assert await source.recent.get() == 2
