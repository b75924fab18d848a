"""Rooms of another server are heard of by lists and by what comes between them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from cloudslice.faults import Faults
from cloudslice.ids import RoomIdType, RoomKey
from cloudslice.rooms.base import RoomEntryError
from cloudslice.rooms.remote.room_server import UnreachableError
from cloudslice.rooms.remote.room_watch import RoomWatch
from helpers.room_news import News

A, B, C = (RoomKey(1, name, RoomIdType.STRING) for name in "abc")


@dataclass
class Server:
    """Answers when and as the test says."""

    questions: asyncio.Queue[asyncio.Future[dict[RoomKey, bool]]] = field(
        default_factory=asyncio.Queue
    )

    async def list_rooms(self) -> Mapping[RoomKey, bool]:
        answer: asyncio.Future[dict[RoomKey, bool]] = asyncio.get_running_loop().create_future()
        self.questions.put_nowait(answer)
        return await answer


async def test_a_list_does_not_undo_what_was_heard_since_it_was_asked_for() -> None:
    news, server = News(), Server()
    watch = RoomWatch(1, server.list_rooms, news, Faults("test"), ask_every_s=0)
    run = asyncio.create_task(watch.run())
    question = await server.questions.get()
    watch.note_active(A)
    watch.note_ended(B)
    question.set_result({B: True, C: True})
    assert await news.lists.get() == {A: False, C: True}
    assert news.heard == [("active", A), ("ended", B)]

    question = await server.questions.get()
    question.set_result({B: True})
    assert await news.lists.get() == {B: True}
    run.cancel()


@pytest.mark.parametrize(
    ("error", "faults"),
    [(UnreachableError("down"), 0), (RoomEntryError("wrong key"), 0), (ValueError("a bug"), 1)],
)
async def test_no_answer_says_nothing_of_rooms(error: Exception, faults: int) -> None:
    """It is asked again."""
    news, server, caught = News(), Server(), Faults("test")
    watch = RoomWatch(1, server.list_rooms, news, caught, ask_every_s=0)
    run = asyncio.create_task(watch.run())
    for _ in range(2):
        (await server.questions.get()).set_exception(error)
    (await server.questions.get()).set_result({A: True})
    assert await news.lists.get() == {A: True}
    assert news.lists.empty()
    assert caught.errors == 2 * faults
    run.cancel()
