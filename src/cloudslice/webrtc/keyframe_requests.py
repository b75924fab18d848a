"""When a sender is asked for a key frame (RFC 4585, 6.3.1): pure decisions, times in monotonic
seconds.

Requests (PLIs) from the first one to the next whole key frame are a series. Within a series they go
out at growing intervals:

1. The first interval is longer than answers of this sender took so far, so that one key frame is
   made for one request.
2. It is shorter when the key frame that answered is damaged for good: no use to wait for it.
3. Each interval is twice as long as the one before, whatever the reason, so that requests cannot
   multiply the traffic that they are lost in.
"""

from math import inf

_FIRST_INTERVAL_S = 0.5
_SHORTEST_S = 0.3
"""Chromium's encoder makes at most one key frame in 300 ms on request."""
_LONGEST_S = 4.0
"""Below the shortest interval of pictures, 5 s: each of them gets a chance."""
_LONGEST_IN_VAIN_S = 30.0
"""...of a sender that sends nothing, or does not answer."""
_SLACK = 1.5
"""The next answer may take this many times as long as the longest ones before."""
_LONGEST_ANSWER_S = 3.0
"""What comes later came by itself."""
_UNANSWERED = 3
"""Requests in a row without an answer, while video flows undamaged, after which the sender is taken
not to answer."""
_PROMPT_ANSWERS = 2
"""Requests in a row that are answered at once, after which it is taken to answer after all."""
_SERIES_S = 60.0
"""A request that is older than this is forgotten."""
_DAMAGES = 2
"""Key frames damaged in a row, after which smaller ones are asked for: they may come through."""
_MOST_HALVINGS = 3


class KeyframeRequests:
    """Paces the requests for one video.

    Attributes:
        are_ignored: whether the sender does not answer, as far as can be told.
        damaged: key frames damaged for good in this series.
    """

    def __init__(self) -> None:
        self.are_ignored = False
        self.damaged = 0
        self._series = 0
        """Requests in this series."""
        self._first_at = self._asked_at = -inf
        self._is_answer_damaged = False
        """Whether the answer to the last request is."""
        self._answer_s = 0.0
        """How long answers take: the longest one, which fades."""
        self._unanswered = 0
        self._prompt_answers = 0
        self._halvings = 0
        self._damaged_at = -inf

    @property
    def is_open(self) -> bool:
        """Whether requests were sent since the last whole key frame."""
        return self._series > 0

    def next_at(self, due: float, *, flows: bool) -> float:
        """When to ask for a key frame.

        Args:
            due: when it is due.
            flows: whether the sender sends video.
        """
        return max(due, self._asked_at + self._interval_s(flows=flows))

    def asked(self, now: float, *, may_be_answered: bool) -> None:
        """The sender is asked now.

        Args:
            now: monotonic second.
            may_be_answered: whether an answer to the request before could have come: video flows,
                and no key frame began to come.
        """
        if now - self._asked_at > _SERIES_S:
            self._begin_series()
        if self._series > 0:
            self._unanswered = self._unanswered + 1 if may_be_answered else 0
            self.are_ignored = self.are_ignored or self._unanswered >= _UNANSWERED
        else:
            self._first_at = now
        self._series += 1
        self._asked_at = now
        self._is_answer_damaged = False

    def answer_damaged(self, now: float) -> None:
        """A key frame that came has lost packets for good."""
        self.damaged += 1
        self._is_answer_damaged = True
        if self.damaged >= _DAMAGES:
            self._halvings = min(self._halvings + 1, _MOST_HALVINGS)
            self._damaged_at = now

    def answered(self, now: float) -> None:
        """A whole key frame has come."""
        answer_s = now - self._first_at
        if self.is_open and self.damaged == 0 and answer_s <= _LONGEST_ANSWER_S:
            self._answer_s = max(answer_s, self._answer_s + (answer_s - self._answer_s) / 4)
        if self.is_open and self.are_ignored:
            is_prompt = now - self._asked_at <= _SLACK * max(self._answer_s, _FIRST_INTERVAL_S)
            self._prompt_answers = self._prompt_answers + 1 if is_prompt else 0
            self.are_ignored = self._prompt_answers < _PROMPT_ANSWERS
        if self.damaged == 0:
            self._halvings = max(0, self._halvings - 1)
        self.damaged = 0
        if not self.are_ignored:
            self._begin_series()

    def resumed(self, now: float) -> None:
        """Video flows again: what was asked of a silent sender does not count, unless this may be
        its answer."""
        if now - self._asked_at >= self._first_interval_s:
            self._asked_at = -inf
            self._begin_series()

    def bitrate_factor(self, now: float) -> float:
        """What part of its bitrate the sender is to use now: less makes smaller key frames."""
        return 0.5**self._halvings if now - self._damaged_at < _SERIES_S else 1.0

    def _begin_series(self) -> None:
        self._series = self.damaged = self._unanswered = 0
        self._is_answer_damaged = False

    @property
    def _first_interval_s(self) -> float:
        return max(_FIRST_INTERVAL_S, _SLACK * self._answer_s)

    def _interval_s(self, *, flows: bool) -> float:
        if self._series == 0:
            return _SHORTEST_S
        first = self._first_interval_s
        if self._is_answer_damaged:
            first = min(first, _SHORTEST_S)
        longest = _LONGEST_S if flows and not self.are_ignored else _LONGEST_IN_VAIN_S
        return min(first * 2.0 ** min(self._series - 1, 16), longest)
