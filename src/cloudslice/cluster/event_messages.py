"""The messages of the stream of events, both ways: an event, and what has become of events.

An event is a line of JSON, and its webhook's body. What has become of events is JSON.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from cloudslice.webhooks.bodies import EventType
from cloudslice.webhooks.outbox import Ending, State


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event as a node hands it over.

    Attributes:
        local_id: its number in the node's database.
        subject: what it is about; see `Notice`.
        created_ms: when it was recorded, UTC.
    """

    local_id: int
    subject: str
    event_type: int
    created_ms: int
    body: bytes

    def to_data(self) -> bytes:
        """As the stream has it."""
        head = [self.local_id, self.subject, self.event_type, self.created_ms]
        return json.dumps(head).encode() + b"\n" + self.body

    @classmethod
    def from_data(cls, data: bytes) -> Self:
        """What `to_data` has written; raises ValueError if it has not."""
        head, _, body = data.partition(b"\n")
        try:
            local_id, subject, event_type, created_ms = json.loads(head)
            return cls(int(local_id), str(subject), int(event_type), int(created_ms), body)
        except TypeError as error:
            raise ValueError(f"no event: {head!r}") from error

    @property
    def once_key(self) -> str | None:
        """The same for all events that tell what is true of a task only once, whichever node tells
        it: that its robot is in the room or cannot be, that it is out of it, that uploads begin.
        None: this tells something else.
        """
        match self.event_type:
            case EventType.START | EventType.UPLOAD_START:
                status = json.loads(self.body)["EventInfo"]["Payload"]["Status"]
            case EventType.STOP:
                status = None
            case _:
                return None
        what = json.dumps([self.subject, self.event_type, status])
        return hashlib.sha256(what.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Step:
    """What has become of some events of an app, as its sender tells it.

    Attributes:
        claim: of the sender: another one after each time that it has begun to send.
        floor: events of the app with lower numbers have all ended.
        at_ms: when this was told, UTC.
        ended: these have.
        again: these are to be sent again, though they had ended.
    """

    claim: str
    floor: int
    at_ms: int
    ended: Sequence[Ending] = ()
    again: Sequence[int] = ()

    def to_data(self) -> bytes:
        """As the stream has it."""
        ended = [
            [each.event_id, each.size, int(each.state), each.attempts, each.error, each.utc_ms]
            for each in self.ended
        ]
        values = {"claim": self.claim, "floor": self.floor, "at_ms": self.at_ms}
        return json.dumps(values | {"ended": ended, "again": list(self.again)}).encode()

    @classmethod
    def from_data(cls, data: bytes) -> Self:
        """What `to_data` has written, but for `Ending.steady_ms`, which is each node's own.

        Raises:
            ValueError: it has not written this.
        """
        try:
            values = json.loads(data)
            ended = [_read_ending(*each) for each in values["ended"]]
            again = [int(each) for each in values["again"]]
            claim, floor, at_ms = str(values["claim"]), int(values["floor"]), int(values["at_ms"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"no step: {error!r}") from error
        return cls(claim, floor, at_ms, ended, again)


def _read_ending(
    event_id: int, size: int, state: int, attempts: int, error: str | None, utc_ms: int
) -> Ending:
    return Ending(event_id, size, State(state), attempts, error, utc_ms, steady_ms=0)
