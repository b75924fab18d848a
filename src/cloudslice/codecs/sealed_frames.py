"""Key frames that their sender has encrypted from end to end, whatever the codec.

A sender encrypts a frame as its encoder has made it, and cuts the result into packets as it would
cut the frame. What the packets say of themselves is left readable, so that servers can forward
them. So packets are put together as always; the frame is opened before anything in it is read.
"""

from collections.abc import Callable, Sequence

from cloudslice.codecs.codec import Depacketizer, PayloadKind
from cloudslice.media.tracks import Decoding

OpenFrame = Callable[[Decoding, bytes], bytes | None]
"""Decrypts a key frame of a codec; None if it cannot be."""


class SealedDepacketizer:
    """A Depacketizer of encrypted frames.

    Args:
        depacketizer: of the codec.
        open_frame: decrypts a frame; None if it cannot be.
    """

    def __init__(
        self, depacketizer: Depacketizer, open_frame: Callable[[bytes], bytes | None]
    ) -> None:
        self._depacketizer = depacketizer
        self._open_frame = open_frame

    @property
    def is_ready(self) -> bool:
        """See `Depacketizer`."""
        return self._depacketizer.is_ready

    def take(self, payload: bytes, sequence: int) -> PayloadKind:
        """See `Depacketizer`."""
        return self._depacketizer.take(payload, sequence)

    def join(self, payloads: Sequence[bytes]) -> bytes | None:
        """See `Depacketizer`."""
        frame = self._depacketizer.join(payloads)
        return None if frame is None else self._open_frame(frame)

    def split(self, frame: bytes) -> list[bytes]:
        """See `Depacketizer`."""
        return self._depacketizer.split(frame)

    def assemble(
        self, payloads: Sequence[bytes], first: int, *, is_first_known: bool
    ) -> bytes | None:
        """See `Depacketizer`."""
        frame = self.join(payloads)
        if frame is None:
            return None
        opened = self.split(frame)
        return self._depacketizer.assemble(opened, first, is_first_known=is_first_known)
