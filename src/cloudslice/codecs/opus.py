"""Opus: its SDP (RFC 7587), and what its packets say without being decoded (RFC 6716, 3)."""

from collections.abc import Iterator

from cloudslice.codecs.codec import AUDIO_LEVEL_URI, Format, MediaKind, Parameters

SAMPLE_RATE = 48_000
"""Opus counts time in samples of 48 kHz, whatever its audio was sampled at."""

GRID = 120
"""Samples of the shortest Opus frame, 2.5 ms: every duration is a multiple of it."""

MAX_PACKET_SAMPLES = 5760
"""No packet is longer than 120 ms (RFC 6716 section 3.2.5)."""

_MAX_FRAME_BYTES = 1275
_MAX_PACKET_BYTES = 48 * _MAX_FRAME_BYTES + 98
_STEREO_BIT = 0x04
_COUNT_BITS = 0x03
_FIRST_CELT = 16
"""The configurations of a TOC byte: 0 to 11 SILK, 12 to 15 hybrid, then CELT."""
_CELT_LIKE = (16, 20, 20)
"""The first CELT configuration of the bandwidth of SILK's (narrow, medium, wide), or the next."""


class MalformedPacketError(ValueError):
    """The bytes are not an Opus packet; the text names the broken rule of RFC 6716 section 3.4."""


def _frame_samples(toc: int) -> int:
    config = toc >> 3
    if config < 12:
        return (480, 960, 1920, 2880)[config % 4]
    if config < 16:
        return (480, 960)[config % 2]
    return GRID << config % 4


_FRAME_SAMPLES = tuple(_frame_samples(toc) for toc in range(256))


def packet_samples(packet: bytes) -> int:
    """The duration of `packet` in samples of 48 kHz.

    Raises:
        MalformedPacketError: it breaks a rule of RFC 6716 section 3.4.
    """
    if not packet:
        raise MalformedPacketError("[R1] a packet has at least one byte")
    toc = packet[0]
    size = len(packet)
    if toc & 0x03 == 0:
        if size > 1 + _MAX_FRAME_BYTES:
            raise MalformedPacketError("[R2] a frame has at most 1275 bytes")
        return _FRAME_SAMPLES[toc]
    if size > _MAX_PACKET_BYTES:
        raise MalformedPacketError("[R2] frames have at most 1275 bytes each")
    return _count_frames(packet) * _FRAME_SAMPLES[toc]


def is_stereo(packet: bytes) -> bool:
    """Whether the packet codes two channels."""
    return bool(packet[0] & _STEREO_BIT)


def is_celt(packet: bytes) -> bool:
    """Whether it is of CELT alone; else it has SILK in it (hybrid)."""
    return packet[0] >> 3 >= _FIRST_CELT


def _count_frames(packet: bytes) -> int:
    code = packet[0] & 0x03
    if code == 1:
        if len(packet) % 2 == 0 or len(packet) > 1 + 2 * _MAX_FRAME_BYTES:
            raise MalformedPacketError("[R3] two frames of equal size need an even payload")
        return 2
    if code == 2:
        first, at = _frame_size(packet, 1)
        if not 0 <= len(packet) - at - first <= _MAX_FRAME_BYTES:
            raise MalformedPacketError("[R4] the first frame's size does not fit the packet")
        return 2
    return _count_coded_frames(packet)


def _count_coded_frames(packet: bytes) -> int:
    """Frames of a code 3 packet (RFC 6716 section 3.2.5)."""
    if len(packet) < 2:
        raise MalformedPacketError("[R6] a code 3 packet has a frame count")
    count = packet[1] & 0x3F
    if not 0 < count * _FRAME_SAMPLES[packet[0]] <= MAX_PACKET_SAMPLES:
        raise MalformedPacketError("[R5] a packet has 1 frame to 120 ms of them")
    at, padding = _padding(packet) if packet[1] & 0x40 else (2, 0)
    rest = len(packet) - at - padding
    frames_in_rest = count
    if packet[1] & 0x80:  # every size but the last one's is told
        for _ in range(count - 1):
            size, next_at = _frame_size(packet, at)
            rest -= next_at - at + size
            at = next_at
        frames_in_rest = 1
    if rest < 0 or rest % frames_in_rest or rest // frames_in_rest > _MAX_FRAME_BYTES:
        raise MalformedPacketError("[R6] or [R7]: frames and padding do not fit the packet")
    return count


def _padding(packet: bytes) -> tuple[int, int]:
    """Where the padding's coded size ends, and how many bytes of padding it says."""
    padding = 0
    for at in range(2, len(packet)):
        if packet[at] < 255:
            return at + 1, padding + packet[at]
        padding += 254
    raise MalformedPacketError("[R6] the padding's size is cut off")


def _frame_size(packet: bytes, at: int) -> tuple[int, int]:
    """A coded frame size (RFC 6716 section 3.2.1) and where the next byte is."""
    if at >= len(packet):
        raise MalformedPacketError("a frame's size is cut off")
    first = packet[at]
    if first < 252:
        return first, at + 1
    if at + 1 >= len(packet):
        raise MalformedPacketError("a frame's size is cut off")
    return first + 4 * packet[at + 1], at + 2


_SILENCE_BODY = b"\xff\xfe"
_MONO_SILENCE = tuple(
    (GRID << shift, bytes([0xE0 | shift << 3]) + _SILENCE_BODY) for shift in (3, 2, 1, 0)
)
_STEREO_SILENCE = tuple(
    (samples, bytes([packet[0] | _STEREO_BIT]) + _SILENCE_BODY) for samples, packet in _MONO_SILENCE
)


def silence(start: int, samples: int, *, stereo: bool) -> Iterator[tuple[bytes, int]]:
    """Packets of digital silence that cover [start, start + samples), each with its duration.

    They are CELT frames with the silence flag set (RFC 6716 section 4.3). Those of 20 ms lie on
    multiples of 20 ms, so that a gap is filled with the same packets wherever it is cut there.

    Args:
        start: where the gap begins in its stream, in samples; a multiple of `GRID`.
        samples: its length; a multiple of `GRID`.
        stereo: whether the packets are to code two channels.
    """
    packets = _STEREO_SILENCE if stereo else _MONO_SILENCE
    end = start + samples
    while start < end:
        size, packet = next(
            each for each in packets if start % each[0] == 0 and start + each[0] <= end
        )
        yield packet, size
        start += size


def concealment(packet: bytes, samples: int) -> Iterator[tuple[bytes, int]]:
    """Packets without content that cover `samples` after `packet`, each with its duration.

    They ask the decoder to conceal what is missing (RFC 7845 section 4.1): a TOC byte alone, so
    one frame of no bytes, in the mode, bandwidth and channels of `packet`, and of its frame size as
    long as that fits. SILK and hybrid frames are 10 ms at least; what is shorter is CELT.

    Args:
        packet: the last one before the gap.
        samples: the gap's length; a multiple of `GRID`.
    """
    toc = packet[0] & ~_COUNT_BITS
    while samples > 0:
        if _FRAME_SAMPLES[toc] > samples:
            toc = _shorter(toc, samples)
        yield bytes([toc]), _FRAME_SAMPLES[toc]
        samples -= _FRAME_SAMPLES[toc]


def _shorter(toc: int, samples: int) -> int:
    """The TOC byte of the longest frame of at most `samples` that is as like `toc` as can be."""
    config, rest = toc >> 3, toc & 0x07
    if samples < 480 and config < _FIRST_CELT:
        config = _CELT_LIKE[config // 4] + 3 if config < 12 else 24 + (config - 12) // 2 * 4 + 3
    lowest = config // 2 * 2 if 12 <= config < _FIRST_CELT else config // 4 * 4
    return next(
        each << 3 | rest
        for each in range(config, lowest - 1, -1)
        if _FRAME_SAMPLES[each << 3] <= samples
    )


class _Opus:
    """See `OPUS`."""

    kind: MediaKind = "audio"
    name = "opus"
    clock_rate = SAMPLE_RATE
    channels = 2
    feedback = ("nack",)
    extensions = (AUDIO_LEVEL_URI,)
    variants: tuple[Parameters, ...] = ((("minptime", "10"), ("useinbandfec", "1")),)

    def answer_parameters(self, offered: Format) -> Parameters | None:
        """Stereo where the sender says that it would send it (RFC 7587, 6.1)."""
        stereo = (("stereo", "1"),) if offered.parameter("sprop-stereo") == "1" else ()
        return (*self.variants[0], *stereo)


OPUS = _Opus()
"""Opus, mono or stereo."""
