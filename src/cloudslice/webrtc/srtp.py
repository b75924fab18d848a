"""SRTP (RFC 3711, RFC 7714) for one DTLS association, by libsrtp.

RTP packets that come are opened by the native library, with libsrtp's own functions out of
pylibsrtp's binding.
"""

import ctypes
from contextlib import suppress
from dataclasses import dataclass, field

from pylibsrtp import ERRORS, Policy, Session, _binding
from pylibsrtp import Error as LibsrtpError
from pylibsrtp._binding import ffi, lib

_REPEATED = tuple(ERRORS[status] for status in (9, 10))
"""srtp_err_status_replay_fail and srtp_err_status_replay_old of srtp.h."""

_libsrtp = ctypes.PyDLL(_binding.__file__)
"""The library itself: its binding does not name all of its functions."""


def _address(name: str) -> int:
    return int(ctypes.cast(getattr(_libsrtp, name), ctypes.c_void_p).value or 0)


_UNPROTECT = int(ffi.cast("uintptr_t", ffi.addressof(lib, "srtp_unprotect")))
_SET_ROC, _GET_ROC = _address("srtp_set_stream_roc"), _address("srtp_get_stream_roc")
_set_roc = _libsrtp.srtp_set_stream_roc
_set_roc.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)

# libsrtp's default of 128 packets is shorter than the way of a retransmitted packet at a high
# bitrate: NACK plus a round trip of 200 ms is 200 packets at 10 Mbit/s.
_REPLAY_WINDOW = 2048


class SrtpError(Exception):
    """A packet that cannot be opened: it is not authentic."""


class RepeatedPacketError(SrtpError):
    """An authentic packet that was there before, or is too old to tell."""


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
        self._keys = keys
        self._inbound = Session(_policy(keys, keys.remote, Policy.SSRC_ANY_INBOUND))
        self._outbound = Session(_policy(keys, keys.local, Policy.SSRC_ANY_OUTBOUND))

    @property
    def native_functions(self) -> tuple[int, int, int, int]:
        """The addresses of srtp_unprotect, srtp_set_stream_roc, srtp_get_stream_roc and of the
        session that they are called with, which is there as long as this context."""
        session = int(ffi.cast("uintptr_t", self._inbound._srtp[0]))
        return _UNPROTECT, _SET_ROC, _GET_ROC, session

    def expect(self, ssrc: int, roll_over_counter: int) -> None:
        """The next packet of an SSRC, of which nothing is kept, has this roll-over counter (RFC
        3711, 3.3.1).

        Without this the first packet is held to have 0, and a sender begins with a random sequence
        number, so that those that are lost before the first one comes may have wrapped already.
        """
        policy = _policy(self._keys, self._keys.remote, Policy.SSRC_SPECIFIC)
        policy.ssrc_value = ssrc
        self._inbound.add_stream(policy)
        _set_roc(self.native_functions[3], ssrc, roll_over_counter)

    def unprotect_rtcp(self, packet: bytes) -> bytes:
        """The RTCP packet in an SRTCP packet. Raises SrtpError."""
        try:
            return self._inbound.unprotect_rtcp(packet)
        except LibsrtpError as error:
            if str(error) in _REPEATED:
                raise RepeatedPacketError("was there before, or is too old to tell") from error
            raise SrtpError(f"not authentic: {error}") from error
        except ValueError as error:
            raise SrtpError(str(error)) from error

    def forget(self, ssrc: int) -> None:
        """Free what is kept of an SSRC that the peer sends; it begins anew if it comes again."""
        with suppress(LibsrtpError):  # of which nothing is kept
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
