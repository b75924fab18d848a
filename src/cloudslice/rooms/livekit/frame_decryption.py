"""End-to-end encryption of LiveKit's clients, as far as a receiver needs it.

As livekit-client (src/e2ee) and libwebrtc's frame cryptor for LiveKit do it: AES-GCM with a key
that PBKDF2 makes of a passphrase which all members share. An encrypted frame is

    readable beginning | ciphertext, tag (16 bytes) | IV (12) | length of the IV | key index

1. Readable, and authenticated, are 1 byte of Opus, 10 of a VP8 key frame, of H.264 all up to two
   bytes of the first slice, and nothing of VP9. Each layer of VP9 is a frame: one is opened.
2. Of H.264 what follows is escaped like the inside of a NAL unit, so that no start code is in it.
3. What the server makes itself (silence, black pictures) ends with its own trailer and is not
   encrypted. It is nothing that a member has sent, and left out.
4. Behind a video frame, encrypted or not, its sender may put metadata: they end with their length,
   all of its bits inverted, and "LKTS" (frameMetadata.ts).
5. A frame is opened by our key whatever its key index says: it is authenticated.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import groupby

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloudslice.codecs.nal_units import without_escapes
from cloudslice.codecs.opus import SAMPLE_RATE, packet_samples
from cloudslice.media.tracks import Decoding, OpusRun

_SALT = b"LKFrameEncryptionKey"
_ITERATIONS = 100_000
_KEY_BYTES = 16
_IV_BYTES = 12
_TRAILER_BYTES = 2
_OVERHEAD = 16 + _IV_BYTES + _TRAILER_BYTES
_READABLE_OF_OPUS = 1
_READABLE_OF_VP8 = 10
_METADATA_END = b"LKTS"
_START_CODE = b"\0\0\1"
_SLICES = (1, 5)
"""NAL unit types of H.264."""
_TOLERATED = 10
"""Frames in a row that cannot be opened before it is told: as many as livekit-client tolerates.
Members do not change over to encryption, or another key, in the same moment."""


class FrameKey:
    """The key that all members share.

    Args:
        passphrase: what they have given to their clients.
    """

    def __init__(self, passphrase: str) -> None:
        key = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), _SALT, _ITERATIONS, _KEY_BYTES)
        self._cipher = AESGCM(key)

    def open(self, frame: bytes, readable: int) -> bytes | None:
        """A frame decrypted, of which so many bytes are not encrypted; None if it cannot be."""
        end = len(frame) - _IV_BYTES - _TRAILER_BYTES
        if len(frame) < readable + _OVERHEAD or frame[-_TRAILER_BYTES] != _IV_BYTES:
            return None
        header, iv = frame[:readable], frame[end : end + _IV_BYTES]
        try:
            return header + self._cipher.decrypt(iv, frame[readable:end], header)
        except InvalidTag:
            return None


class TrackDecryption:
    """Opens what comes of one track, and notices when that cannot be done.

    Args:
        key: the members'.
        server_trailer: what frames end with that the server makes itself.
        on_failure: called for each frame that cannot be opened.
        tell: called with False when many in a row cannot be opened, with True when they can again.
    """

    def __init__(
        self,
        key: FrameKey,
        server_trailer: Callable[[], bytes],
        on_failure: Callable[[], None],
        tell: Callable[[bool], None],
    ) -> None:
        self._key = key
        self._server_trailer = server_trailer
        self._on_failure = on_failure
        self._tell = tell
        self._failed = 0
        """Frames in a row that could not be opened."""

    def open_run(self, run: OpusRun) -> Iterator[OpusRun]:
        """What can be opened of encrypted Opus packets: one run, or more with gaps between."""
        opened = [self._open(packet, _READABLE_OF_OPUS) for packet in run.packets()]
        # The first byte, which is readable, tells the duration of packets that have one frame.
        samples = packet_samples(run.data[:1]) if len(opened) > 1 else 0
        pace_s = (run.last_arrival - run.arrival) / max(len(opened) - 1, 1)
        for is_open, group in groupby(enumerate(opened), lambda each: each[1] is not None):
            if is_open:
                numbers, packets = zip(*group, strict=True)
                first, last = numbers[0], numbers[-1]
                yield OpusRun(
                    b"".join(packets),
                    tuple(map(len, packets)),
                    run.timestamp + first * samples,
                    run.arrival + first * pace_s,
                    run.arrival + last * pace_s,
                    run.earliest + first * samples / SAMPLE_RATE,
                )

    def open_keyframe(self, decoding: Decoding, frame: bytes) -> bytes | None:
        """An encrypted key frame, opened; None if it cannot be."""
        frame = _without_metadata(frame)
        if decoding.decoder == "vp8":
            return self._open(frame, _READABLE_OF_VP8)
        if decoding.decoder == "vp9":
            return self._open(frame, 0)
        if decoding.decoder == "h264":
            readable = _readable_of_h264(frame)
            return self._open(frame[:readable] + without_escapes(frame[readable:]), readable)
        return None

    def _open(self, frame: bytes, readable: int) -> bytes | None:
        trailer = self._server_trailer()
        if trailer and frame.endswith(trailer):
            return None
        opened = self._key.open(frame, readable)
        failed, self._failed = self._failed, 0 if opened is not None else self._failed + 1
        if opened is None:
            self._on_failure()
            if self._failed == _TOLERATED:
                self._tell(False)
        elif failed >= _TOLERATED:
            self._tell(True)
        return opened


def _without_metadata(frame: bytes) -> bytes:
    if not frame.endswith(_METADATA_END) or len(frame) <= len(_METADATA_END):
        return frame
    return frame[: -(frame[-len(_METADATA_END) - 1] ^ 0xFF) or None]


def _readable_of_h264(frame: bytes) -> int:
    """Bytes up to two of the first slice (livekit-client, naluUtils.ts); all, if there is none."""
    at = frame.find(_START_CODE)
    while 0 <= at < len(frame) - 3:
        if frame[at + 3] & 0x1F in _SLICES:
            return at + 5
        at = frame.find(_START_CODE, at + 3)
    return len(frame)
