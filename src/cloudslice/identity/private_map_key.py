"""PrivateMapKey: a UserSig that also says which room, and what its holder may do there.

The envelope's userbuf is a ticket, big-endian (docs/wire.md, 11.2)::

    u8 version (0 numeric room, 1 string room) | u16 length, account | u32 SdkAppId
    | u32 numeric room id | u32 expiry | u32 privileges | u32 account type
    | only version 1: u16 length, room id
"""

import struct
from dataclasses import dataclass
from enum import IntFlag

from cloudslice.identity.user_sig import Fault, IdentityError, make_user_sig, verify_user_sig
from cloudslice.ids import RoomIdType, RoomKey

_HEAD = struct.Struct("!BH")
_NUMBERS = struct.Struct("!IIIII")
_LENGTH = struct.Struct("!H")


class Privilege(IntFlag):
    """What a PrivateMapKey lets its holder do in its room."""

    CREATE_ROOM = 1
    ENTER_ROOM = 2
    SEND_AUDIO = 4
    RECEIVE_AUDIO = 8
    SEND_VIDEO = 16
    RECEIVE_VIDEO = 32
    SEND_AUX = 64
    RECEIVE_AUX = 128
    ALL = 255


def make_private_map_key(
    secret_key: str,
    room: RoomKey,
    user_id: str,
    privileges: Privilege,
    *,
    now_s: float,
    lifetime_s: int,
) -> str:
    """A PrivateMapKey for `user_id` in `room`, valid from `now_s` (Unix seconds) for `lifetime_s`.

    Raises:
        ValueError: `user_id` is not 1 to 32 letters, digits, ``_`` or ``-``.
    """
    account = user_id.encode()
    numeric = room.room_id_type is RoomIdType.NUMBER
    ticket = b"".join(
        (
            _HEAD.pack(0 if numeric else 1, len(account)),
            account,
            _NUMBERS.pack(
                room.sdk_app_id,
                int(room.room_id) if numeric else 0,
                int(now_s) + lifetime_s,
                privileges,
                0,
            ),
        )
    )
    if not numeric:
        name = room.room_id.encode()
        ticket += _LENGTH.pack(len(name)) + name
    return make_user_sig(
        secret_key, room.sdk_app_id, user_id, now_s=now_s, lifetime_s=lifetime_s, userbuf=ticket
    )


def verify_private_map_key(
    token: str,
    secret_key: str,
    room: RoomKey,
    user_id: str,
    needed: Privilege,
    *,
    now_s: float,
) -> None:
    """Check that `token` grants `user_id` all `needed` privileges in `room` at `now_s`.

    Raises:
        IdentityError: it does not.
    """
    userbuf = verify_user_sig(token, secret_key, room.sdk_app_id, user_id, now_s=now_s)
    if userbuf is None:
        raise IdentityError(Fault.NO_TICKET)
    ticket = _parse_ticket(userbuf)
    if ticket.account != user_id.encode():
        raise IdentityError(Fault.OTHER_USER)
    if ticket.sdk_app_id != room.sdk_app_id:
        raise IdentityError(Fault.OTHER_APP)
    if ticket.room != room.wire_id:
        raise IdentityError(Fault.OTHER_ROOM)
    if now_s >= ticket.expires_s:
        raise IdentityError(Fault.EXPIRED)
    if needed not in ticket.privileges:
        raise IdentityError(Fault.NOT_PERMITTED)


@dataclass(frozen=True, slots=True)
class _Ticket:
    account: bytes
    sdk_app_id: int
    room: int | str
    expires_s: int
    privileges: Privilege


def _parse_ticket(userbuf: bytes) -> _Ticket:
    try:
        version, account_length = _HEAD.unpack_from(userbuf)
        numbers_at = _HEAD.size + account_length
        sdk_app_id, room_number, expires_s, privileges, _ = _NUMBERS.unpack_from(
            userbuf, numbers_at
        )
        rest = userbuf[numbers_at + _NUMBERS.size :]
        room: int | str = room_number if version == 0 else _parse_room_name(rest)
    except (struct.error, UnicodeDecodeError) as error:
        raise IdentityError(Fault.MALFORMED) from error
    if version > 1 or (version == 0 and rest):
        raise IdentityError(Fault.MALFORMED)
    return _Ticket(
        account=userbuf[_HEAD.size : numbers_at],
        sdk_app_id=sdk_app_id,
        room=room,
        expires_s=expires_s,
        privileges=Privilege(privileges),
    )


def _parse_room_name(data: bytes) -> str:
    (length,) = _LENGTH.unpack_from(data)
    name = data[_LENGTH.size :]
    if len(name) != length:
        raise IdentityError(Fault.MALFORMED)
    return name.decode()
