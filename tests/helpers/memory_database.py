"""A database in memory that takes its time, for code that runs in virtual time."""

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar, cast

from cloudslice.database import Database, Operation

T = TypeVar("T")


class MemoryDatabase:
    """Carries out operations in their order, a moment after they are asked for."""

    def __init__(self, connection: sqlite3.Connection, *, takes_s: float = 0.002) -> None:
        self.connection = connection
        self._takes_s = takes_s
        self._turn = asyncio.Lock()
        self._after: list[Callable[[], object]] = []

    @property
    def database(self) -> Database:
        return cast(Database, self)

    async def persist(self, operation: Operation[T], *, within_s: float = 0) -> T:
        async with self._turn:
            await asyncio.sleep(self._takes_s)
            self._after.clear()
            result = operation(self.connection)
            for call in self._after:
                call()
        return result

    run = persist

    def after_commit(self, call: Callable[[], object]) -> None:
        self._after.append(call)

    def post(self, operation: Operation[object], what: str) -> None:
        operation(self.connection)
