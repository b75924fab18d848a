"""Consent to send (RFC 7675): whether the peer of a full agent still answers on the path in use."""

import math
import random
import secrets

from cloudslice.webrtc import stun
from cloudslice.webrtc.ice_generation import IceGeneration, IceRole
from cloudslice.webrtc.udp.paths import Path, without_local

_INTERVAL_S = 5.0
_CHECKS_PER_TIMEOUT = 6
"""RFC 7675, 5.1, has a check every 5 s and gives up after 30 s. Whoever gives up sooner checks more
often."""
_UNANSWERED_INTERVAL_S = 0.5
"""While an answer is missing. Where each fourth datagram is lost nearly half of the checks fail,
and six that fail in a row are a matter of an hour."""
_REFUSED_INTERVAL_S = 0.3
_REFUSED_GRACE_S = 1.0
"""Seconds that the peer is asked when the kernel says that nobody listens there (ICMP, which can be
forged)."""


class Consent:
    """The checks of the path in use. `now` is the monotonic second.

    Args:
        timeout_s: consent is lost when nothing was answered for so long.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._interval_s = min(_INTERVAL_S, timeout_s / _CHECKS_PER_TIMEOUT)
        self._target: tuple[Path, IceGeneration] | None = None
        self._pending: set[bytes] = set()
        self._next_at = math.inf
        self._answered_at = -math.inf
        self._refused_at = math.inf

    def follow(self, path: Path, generation: IceGeneration, now: float) -> None:
        """Check this path from now on, with the generation's credentials. Consent that was given
        on a former path lasts until its time is over."""
        if (path, generation) == self._target:
            return
        if self._target is None:
            self._answered_at = now
        self._target = path, generation
        self._pending.clear()
        self._next_at = now
        self._refused_at = math.inf

    def clear(self) -> None:
        """There is no path any more."""
        self._target = None
        self._next_at = self._refused_at = math.inf

    def receive(self, response: stun.StunMessage, path: Path, now: float) -> bool:
        """Take in an answer; whether it was one to these checks."""
        if self._target is None or response.transaction_id not in self._pending:
            return False
        target, generation = self._target
        is_valid = (
            response.kind is stun.StunKind.RESPONSE
            and target in (path, without_local(path))
            and generation.proves_response(response)
        )
        if is_valid:
            self.answered(now)
        return is_valid

    def answered(self, now: float) -> None:
        """The peer answered a check on this path."""
        self._answered_at = now
        self._refused_at = math.inf
        self._pending.clear()
        # RFC 7675, 5.1: spread, so that many agents do not ask at one moment.
        self._next_at = now + self._interval_s * random.uniform(0.8, 1.2)  # noqa: S311

    def refused(self, now: float) -> None:
        """The network says that nobody listens at the other end: check at once."""
        if self._refused_at == math.inf and self._target is not None:
            self._refused_at = self._next_at = now

    def request_due(self, role: IceRole, now: float) -> bytes | None:
        """The check to send now, if any; each is sent but once (RFC 7675, 5.1)."""
        if now < self._next_at or self._target is None:
            return None
        is_refused = self._refused_at < math.inf
        interval = _REFUSED_INTERVAL_S if is_refused else _UNANSWERED_INTERVAL_S
        self._next_at = now + interval * random.uniform(0.8, 1.2)  # noqa: S311
        transaction_id = secrets.token_bytes(12)
        self._pending.add(transaction_id)
        _, generation = self._target
        return generation.request(transaction_id, role)

    def loss(self, now: float) -> str:
        """Why consent is lost; "": it is not."""
        if now >= self._refused_at + _REFUSED_GRACE_S:
            return "nobody listens at the peer's address"
        if self._target is not None and now >= self._answered_at + self._timeout_s:
            return f"the peer has not answered for {self._timeout_s:g} s"
        return ""

    @property
    def next_deadline(self) -> float:
        """When something is due; infinity: never."""
        if self._target is None:
            return math.inf
        return min(
            self._next_at, self._answered_at + self._timeout_s, self._refused_at + _REFUSED_GRACE_S
        )
