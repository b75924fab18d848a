"""A task that has ended and is not settled, as a value in the registry, both ways."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Self

from cloudslice.cluster.task_records import read_record
from cloudslice.slices import TaskRef


class Told(IntEnum):
    """What is told of the end of a task's uploads, or about to be."""

    NOTHING = 0
    INCOMPLETE = 1
    """Event 1005 with Status 1; another one may come."""
    ALL = 2


@dataclass(frozen=True, slots=True)
class EndedTask:
    """Who tells of a task's end, and what it waits for."""

    task: TaskRef
    teller: str
    """The node that tells. What its own spool holds it knows itself."""
    holders: frozenset[str] = frozenset()
    """Other nodes that may have slices of the task that are not stored."""
    has_lost: bool = False
    """Whether nodes that were holders have lost slices of it."""
    told: Told = Told.NOTHING

    def without(self, node: str, *, has_lost: bool) -> Self:
        """The same, when a node has no slices any more."""
        has_lost = self.has_lost or has_lost
        return replace(self, holders=self.holders - {node}, has_lost=has_lost)

    def told_by(self, node: str, more_holders: Iterable[str]) -> Self:
        """The same, with another teller, and other nodes that may have slices."""
        return replace(self, teller=node, holders=self.holders.union(more_holders) - {node})

    def to_value(self) -> bytes:
        """As the registry has it."""
        task = self.task
        values = {
            "task": task.task_id,
            "app": task.sdk_app_id,
            "room": task.room_id,
            "robot": task.robot_user_id,
            "teller": self.teller,
            "holders": sorted(self.holders),
            "has_lost": self.has_lost,
            "told": int(self.told),
        }
        return json.dumps(values, separators=(",", ":")).encode()

    @classmethod
    def from_value(cls, value: bytes) -> Self:
        """What `to_value` has written; raises ValueError if it has not."""
        values = read_record(value)
        try:
            return cls(
                TaskRef(values["task"], int(values["app"]), values["room"], values["robot"]),
                str(values["teller"]),
                frozenset(map(str, values["holders"])),
                bool(values["has_lost"]),
                Told(values["told"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no task that has ended: {error!r}") from error
