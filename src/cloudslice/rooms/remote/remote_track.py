"""What an anchor's tracks in a room of another server have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import inf
from typing import Generic, TypeVar

from cloudslice.clock import Clock
from cloudslice.webrtc.receiver import Receiver

Caught = Callable[[Exception], None]
R = TypeVar("R", bound=Receiver)


def ignore_change() -> None:
    """What `on_change` is while nobody is in the room."""


class Track(ABC, Generic[R]):
    """A track of either kind.

    Attributes:
        on_change: called when it wants something else than before.
        is_muted: whether its sender has muted it.
        is_refused: whether the server has said that it cannot be sent to us.
    """

    _receiver_type: type[R]

    def __init__(self, clock: Clock, caught: Caught) -> None:
        """
        Args:
            clock: for what is wanted, and what flows.
            caught: is told what those raise who hear or see it.
        """
        self.on_change: Callable[[], None] = ignore_change
        self.is_muted = False
        self.is_refused = False
        self._clock = clock
        self._caught = caught
        self._receiver: R | None = None
        self._used_until = -inf
        """Monotonic second until which somebody wanted something of it."""

    def bind(self, receiver: Receiver | None) -> None:
        """Have what comes by `receiver` from now on; None, or one of the other kind: nothing
        comes."""
        bound = receiver if isinstance(receiver, self._receiver_type) else None
        if bound is self._receiver:
            return
        if self._receiver is not None:
            self._detach(self._receiver)
        self._receiver = bound
        if bound is not None:
            self._attach(bound)

    def is_bound_to(self, receiver: Receiver) -> bool:
        """Whether its media comes there."""
        return self._receiver is receiver

    @abstractmethod
    def is_wanted(self, now: float) -> bool:
        """Whether it is to be subscribed to at monotonic second `now`."""

    @abstractmethod
    def is_on(self, now: float) -> bool:
        """Whether the server is to send its media, if it is subscribed to."""

    @abstractmethod
    def switched(self, *, is_on: bool, now: float) -> None:
        """Whether the server sends its media, from now on."""

    @abstractmethod
    def _attach(self, receiver: R) -> None: ...

    @abstractmethod
    def _detach(self, receiver: R) -> None: ...
