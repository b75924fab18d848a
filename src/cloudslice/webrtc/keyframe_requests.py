"""When a sender is asked for a key frame (RFC 4585, 6.3.1): pure decisions, times in monotonic
seconds."""

from math import inf

_FIRST_INTERVAL_S = 0.5
"""Longer than most round trips, NACKs and all, so that one key frame is made for one request."""
_AFTER_LOSS_S = 0.3
"""A key frame of which packets are missing for good: Chromium's encoder makes at most one in 300
ms on request."""
_LONGEST_INTERVAL_S = 8.0
_SLACK = 1.5
"""The next answer may take so many times as long as the answers so far."""
_UNANSWERED = 4
"""So many requests in a row without an answer, while video flows undamaged: the sender does not
answer."""


class KeyframeRequests:
    """Paces the requests for one video: sooner after loss, ever later while there is no answer.

    Attributes:
        sent: how many there were.
    """

    def __init__(self) -> None:
        self.sent = 0
        self._asked_at = -inf
        self._interval_s = _FIRST_INTERVAL_S
        self._answer_s = 0.0
        """How long answers take, a moving average."""
        self._unanswered = 0

    @property
    def are_ignored(self) -> bool:
        """Whether the sender does not answer, as far as can be told."""
        return self._unanswered >= _UNANSWERED

    def next_at(self, due: float) -> float:
        """When to ask for a key frame that is due at `due`."""
        return max(due, self._asked_at + self._interval_s)

    def asked(self, now: float, *, may_be_answered: bool) -> None:
        """The sender is asked now.

        Args:
            now: monotonic second.
            may_be_answered: whether an intact answer could have come to the request before: video
                flows, and nothing of it is missing for good.
        """
        was_asked_lately = now - self._asked_at <= _LONGEST_INTERVAL_S + 1
        self._unanswered += was_asked_lately and may_be_answered
        first = max(_FIRST_INTERVAL_S, _SLACK * self._answer_s)
        is_repeated = was_asked_lately and self._interval_s >= first
        self._interval_s = min(2 * self._interval_s, _LONGEST_INTERVAL_S) if is_repeated else first
        self._asked_at = now
        self.sent += 1

    def damaged(self) -> None:
        """A packet is missing for good, so that a key frame in the making cannot be whole."""
        self._interval_s = min(self._interval_s, _AFTER_LOSS_S)

    def answered(self, arrival: float) -> None:
        """A whole key frame has come whose first packet arrived at `arrival`."""
        answer_s = arrival - self._asked_at
        if 0 <= answer_s < _FIRST_INTERVAL_S * 4:
            self._unanswered = 0
            self._answer_s += (answer_s - self._answer_s) / 4 if self._answer_s else answer_s
        self._interval_s = max(_FIRST_INTERVAL_S, _SLACK * self._answer_s)
