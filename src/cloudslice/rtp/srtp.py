"""SRTP (RFC 3711, RFC 7714) for one DTLS association, by libsrtp.

RTP packets that come are opened below Python, by libsrtp's own function, which the native library
gets from pylibsrtp's binding.
"""

import ctypes
from contextlib import suppress
from dataclasses import dataclass, field

from pylibsrtp import ERRORS, Policy, Session, _binding
from pylibsrtp import Error as LibsrtpError
from pylibsrtp._binding import ffi, lib

from cloudslice.rtp.native import PeerStruct

MAX_PACKET = 1500
"""Bytes of the longest packet that can be opened: an Ethernet frame's."""

_REPEATED = tuple(ERRORS[status] for status in (9, 10))
"""srtp_err_status_replay_fail and srtp_err_status_replay_old of srtp.h."""

_UNPROTECT = int(ffi.cast("uintptr_t", ffi.addressof(lib, "srtp_unprotect")))

_library = ctypes.CDLL(_binding.__file__)
"""The same libsrtp: the binding names but a part of its functions."""
_set_roc = _library.srtp_set_stream_roc
_set_roc.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)
_get_roc = _library.srtp_get_stream_roc
_get_roc.argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32))
_GET_ROC, _SET_ROC = (ctypes.cast(each, ctypes.c_void_p).value for each in (_get_roc, _set_roc))

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

    def open_packets_of(self, peer: PeerStruct) -> None:
        """Have the native library decrypt the RTP packets of `peer`, which must not be used when
        nobody has this context any more."""
        peer.unprotect = _UNPROTECT
        peer.get_roc = _GET_ROC
        peer.set_roc = _SET_ROC
        peer.srtp = self._handle

    @property
    def _handle(self) -> int:
        """The srtp_t of what the peer sends."""
        return int(ffi.cast("uintptr_t", self._inbound._srtp[0]))

    def begin_rolled_over(self, ssrc: int) -> bool:
        """Expect the first packet of an SSRC after a first roll-over (RFC 3711, 3.3.1) that we have
        not seen; else a first packet is held to be from before it. Whether it can be the first:
        nothing is kept of the SSRC yet. `forget` undoes this."""
        policy = _policy(self._keys, self._keys.remote, Policy.SSRC_SPECIFIC)
        policy.ssrc_value = ssrc
        if _get_roc(self._handle, ssrc, ctypes.byref(ctypes.c_uint32())) == 0:
            return False
        self._inbound.add_stream(policy)
        _set_roc(self._handle, ssrc, 1)
        return True

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
