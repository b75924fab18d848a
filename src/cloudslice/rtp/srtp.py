"""SRTP (RFC 3711, RFC 7714) for one DTLS association, by libsrtp."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pylibsrtp import Error as SrtpError
from pylibsrtp import Policy, Session

__all__ = [
    "MAX_PACKET",
    "PROFILES",
    "SrtpContext",
    "SrtpError",
    "SrtpKeys",
    "SrtpProfile",
    "is_repeated",
]

MAX_PACKET = 1500
"""Bytes of the longest packet that can be opened: an Ethernet frame's."""


# libsrtp's default of 128 packets is shorter than the way of a retransmitted packet at a high
# bitrate: NACK plus a round trip of 200 ms is 200 packets at 10 Mbit/s.
_REPLAY_WINDOW = 2048


@dataclass(frozen=True, slots=True)
class SrtpKeys:
    """Both directions' master key and salt, concatenated."""

    libsrtp_profile: int
    local: bytes = field(repr=False)
    remote: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SrtpProfile:
    """An SRTP protection profile: its name in DTLS (RFC 5764, 4.1.2) and lengths in bytes."""

    dtls_name: bytes
    libsrtp_profile: int
    key_length: int
    salt_length: int

    def split(self, material: bytes, *, is_server: bool) -> SrtpKeys:
        """Cut DTLS keying material into keys (RFC 5764, 4.2: client key, server key, salts)."""
        keys, salts = material[: 2 * self.key_length], material[2 * self.key_length :]
        client = keys[: self.key_length] + salts[: self.salt_length]
        server = keys[self.key_length :] + salts[self.salt_length :]
        local, remote = (server, client) if is_server else (client, server)
        return SrtpKeys(self.libsrtp_profile, local=local, remote=remote)


PROFILES = (
    SrtpProfile(b"SRTP_AEAD_AES_128_GCM", Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12),
    SrtpProfile(b"SRTP_AEAD_AES_256_GCM", Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12),
    SrtpProfile(b"SRTP_AES128_CM_SHA1_80", Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14),
)
"""In our order of preference: GCM costs a third of HMAC-SHA1, and 128 bits are enough."""


class SrtpContext:
    """Protects what we send and opens what the peer sends."""

    def __init__(self, keys: SrtpKeys) -> None:
        self._inbound = Session(_policy(keys, keys.remote, Policy.SSRC_ANY_INBOUND))
        self._outbound = Session(_policy(keys, keys.local, Policy.SSRC_ANY_OUTBOUND))
        self.unprotect: Callable[[bytes], bytes] = self._inbound.unprotect
        """The RTP packet in an SRTP packet of at most `MAX_PACKET` bytes. Raises SrtpError: the
        packet is not authentic, was seen before, or is too old. (libsrtp's own method: one call
        less for every packet.)"""
        self.unprotect_rtcp: Callable[[bytes], bytes] = self._inbound.unprotect_rtcp
        """The same for SRTCP."""

    def forget(self, ssrc: int) -> None:
        """Free what is kept of an SSRC that the peer sends; it begins anew if it comes again."""
        with suppress(SrtpError):  # of which nothing is kept
            self._inbound.remove_stream(ssrc)

    def protect(self, packet: bytes) -> bytes:
        """An SRTP packet of an RTP packet; the same packet again is a retransmission."""
        return self._outbound.protect(packet)

    def protect_rtcp(self, packet: bytes) -> bytes:
        """An SRTCP packet of an RTCP compound packet."""
        return self._outbound.protect_rtcp(packet)


def _policy(keys: SrtpKeys, key: bytes, ssrc_type: int) -> Policy:
    policy = Policy(key=key, ssrc_type=ssrc_type, srtp_profile=keys.libsrtp_profile)
    policy.window_size = _REPLAY_WINDOW
    policy.allow_repeat_tx = True
    return policy


def is_repeated(error: SrtpError) -> bool:
    """Whether an authentic packet was refused only for its sequence number."""
    return str(error).startswith("replay check failed")
