"""A node that starts, and all that it has to know first."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from cloudslice.cluster import cluster_view
from cloudslice.cluster.cluster_view import ClusterView
from cloudslice.cluster.registry import Entry, RegistryError

_STEP_S = 0.2


class SlowRegistry:
    """Tells of so many keys, one after the other, and of nothing more then."""

    def __init__(self, keys: int, *, is_whole: bool) -> None:
        self._keys = keys
        self._is_whole = is_whole

    async def changes(self, *, quiet_s: float) -> AsyncGenerator[Entry | None, None]:
        for number in range(self._keys):
            await asyncio.sleep(_STEP_S)
            yield Entry(f"clock.{number}", b"1", number + 1)
        if self._is_whole:
            yield None
        await asyncio.Event().wait()


async def test_a_node_waits_as_long_as_more_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """50,000 tasks take longer than any time that is right for a few."""
    monkeypatch.setattr(cluster_view, "_READY_S", 5 * _STEP_S)
    async with ClusterView(SlowRegistry(8, is_whole=True)) as view:  # type: ignore[arg-type]
        assert view.tasks == {}


async def test_a_node_to_which_nothing_comes_does_not_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_view, "_READY_S", 5 * _STEP_S)
    with pytest.raises(RegistryError, match="does not tell"):
        async with ClusterView(SlowRegistry(2, is_whole=False)):  # type: ignore[arg-type]
            pass
