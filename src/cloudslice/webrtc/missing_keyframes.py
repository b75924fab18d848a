"""Why key frames that a sender was asked for have not come; logged if it is the sender's way."""

import structlog

from cloudslice.media.tracks import NoKeyframeReason

_log = structlog.get_logger(__name__)


_TEXTS = {
    NoKeyframeReason.NO_ANSWER: (
        "senders_not_answering",
        "the sender does not answer requests for key frames: pictures are made of those that it"
        " sends by itself; let it send one in each interval of pictures",
    ),
    NoKeyframeReason.INTRA_REFRESH: (
        "senders_with_intra_refresh",
        "the sender sends no key frames, but renews its picture piece by piece (intra refresh): no"
        " picture can be made until it sends one",
    ),
}
"""The reasons that are the sender's way: the name of the count, and what the log says."""


class SenderWarnings:
    """Tells of each of a sender's ways once.

    Attributes:
        counts: how often each was told, by the count's name.
    """

    def __init__(self) -> None:
        self.counts = {name: 0 for name, _ in _TEXTS.values()}

    def tell(self, reason: NoKeyframeReason | None, ssrc: int | None) -> None:
        """Log and count a reason, unless that was done, or it is not the sender's way."""
        if reason not in _TEXTS:
            return
        name, text = _TEXTS[reason]
        if not self.counts[name]:
            self.counts[name] = 1
            _log.warning(text, ssrc=ssrc)
