"""The controlling side of ICE (RFC 8445) with host candidates only, without I/O.

A publisher starts the conversation, so it needs no candidates that were found by STUN or TURN: the
server learns its address from the checks. Aggressive nomination (RFC 5245, 8.1.1.2) is right
against a lite server and accepted by full ones.
"""

import random
import secrets
import struct
from collections.abc import Sequence

from aioice import stun

from cloudslice.rtp.ice import Address, IceCredentials, StunError

_CHECK_INTERVAL_S = 0.2
# RFC 7675, 5.1: every 5 s; a little oftener, so that a timeout of 10 s covers two lost answers.
_CONSENT_INTERVAL_S = 4.0
_CONSENT_RETRY_S = 0.5
# The kernel says that nobody listens there: one more check may tell that it was a forgery.
_REFUSED_GRACE_S = 1.0
# RFC 8445, 5.1.2.1, of a peer-reflexive candidate, which is what the server will see.
_PRIORITY = (110 << 24) + (65535 << 8) + 255
_MAX_PENDING = 64


class ControllingAgent:
    """Finds the candidate that answers, and watches over the peer's consent (RFC 7675).

    Args:
        local, remote: credentials of both sides.
        candidates: the peer's addresses.
        consent_timeout_s: the peer is gone when it has not answered for so long.
        now: monotonic second.
    """

    def __init__(
        self,
        local: IceCredentials,
        remote: IceCredentials,
        candidates: Sequence[Address],
        *,
        consent_timeout_s: float,
        now: float,
    ) -> None:
        self.selected: Address | None = None
        """The address that media goes to, once there is one."""
        self._local = local
        self._remote_key = remote.password.encode()
        self._username = f"{remote.ufrag}:{local.ufrag}"
        self._candidates = tuple(candidates)
        self._tie_breaker = secrets.randbits(64)
        self._consent_timeout_s = consent_timeout_s
        self._next_check = now
        self._pending: dict[bytes, Address] = {}
        self._last_answer = now
        self._refused_at: float | None = None

    def checks_due(self, now: float) -> list[tuple[bytes, Address]]:
        """The binding requests to send at monotonic second `now`, and where to."""
        if now < self._next_check:
            return []
        is_selected = self.selected is not None
        self._next_check = now + (_CONSENT_RETRY_S if is_selected else _CHECK_INTERVAL_S)
        targets = self._candidates if self.selected is None else (self.selected,)
        return [(self._request(address), address) for address in targets]

    def receive(self, datagram: bytes, source: Address, now: float) -> bytes | None:
        """Take in a STUN datagram; the answer to send to `source`, if any.

        Raises:
            StunError: it is not STUN, or not authentic.
        """
        try:
            message = stun.parse_message(datagram)
        except (ValueError, struct.error) as error:
            raise StunError(f"not a STUN message: {error}") from error
        if message.message_class is stun.Class.REQUEST:
            return self._answer(message, source)
        if message.message_class is stun.Class.RESPONSE:
            self._take_answer(message, now)
        return None

    def refused(self, now: float) -> None:
        """The network said that nobody is at the selected address (ICMP port unreachable)."""
        if self._refused_at is None:
            self._refused_at = now
            self._next_check = now

    def is_lost(self, now: float) -> bool:
        """Whether the peer has withdrawn, or lost the ability to give, its consent."""
        if self._refused_at is not None and now - self._refused_at > _REFUSED_GRACE_S:
            return True
        return now - self._last_answer > self._consent_timeout_s

    def _take_answer(self, message: stun.Message, now: float) -> None:
        if not message.check_message_integrity(self._remote_key):
            raise StunError("binding response with a wrong MESSAGE-INTEGRITY")
        address = self._pending.pop(message.transaction_id, None)
        if address is None:
            raise StunError("binding response to no request of ours")
        if self.selected is None:
            self.selected = address
        self._pending.clear()
        self._last_answer = now
        self._refused_at = None
        # RFC 7675, 5.1: spread, so that a hundred publishers do not ask in one beat.
        self._next_check = now + _CONSENT_INTERVAL_S * random.uniform(0.8, 1.2)

    def _request(self, address: Address) -> bytes:
        request = stun.Message(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.REQUEST,
            attributes={
                "USERNAME": self._username,
                "PRIORITY": _PRIORITY,
                "ICE-CONTROLLING": self._tie_breaker,
                "USE-CANDIDATE": None,
            },
        )
        request.add_message_integrity(self._remote_key)
        while len(self._pending) >= _MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._pending[request.transaction_id] = address
        return bytes(request)

    def _answer(self, request: stun.Message, source: Address) -> bytes:
        """A full agent checks the path from its side too before it uses it."""
        key = self._local.password.encode()
        if not request.check_message_integrity(key):
            raise StunError("binding request with a wrong MESSAGE-INTEGRITY")
        response = stun.Message(
            message_method=stun.Method.BINDING,
            message_class=stun.Class.RESPONSE,
            transaction_id=request.transaction_id,
            attributes={"XOR-MAPPED-ADDRESS": source[:2]},
        )
        response.add_message_integrity(key)
        return bytes(response)
