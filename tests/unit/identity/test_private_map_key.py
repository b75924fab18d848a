"""PrivateMapKeys: the tickets of the official generators, and what each of them permits."""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from TLSSigAPIv2 import TLSSigAPIv2

from cloudslice.identity.private_map_key import (
    Privilege,
    make_private_map_key,
    verify_private_map_key,
)
from cloudslice.identity.user_sig import Fault, IdentityError, make_user_sig, verify_user_sig
from cloudslice.ids import RoomIdType, RoomKey

APP = 1400000000
KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
USER = "slice_bot_150"
NOW = 1700000000
DAY = 86400
ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)
STRING_ROOM = RoomKey(APP, "room-150", RoomIdType.STRING)
LAST_ROOM = RoomKey(APP, "4294967294", RoomIdType.NUMBER)
RECEIVE = Privilege.ENTER_ROOM | Privilege.RECEIVE_AUDIO | Privilege.RECEIVE_VIDEO

NUMERIC_TICKET = bytes.fromhex(
    "00000d736c6963655f626f745f31353053724e000000009665554280000000ff00000000"
)
STRING_TICKET = bytes.fromhex(
    "01000d736c6963655f626f745f31353053724e0000000000655542800000002a000000000008726f6f6d2d313530"
)
NUMERIC_TOKEN = (
    "eJxVjkELgkAUhP-LO4e6pqULHR5Sl8wCRctLpK6ypLWtJmb03yPLQ3MY3nzzDvOEwPWVlkmgoCsaTIbMM3ZpeM4HXJc8"
    "Zcfk2hyJOT7U2fkkBM*AEkP76ds0vGJAyfyfsk5wyYBaM2NE95rJ5J4DBUT0Ur0TBz3MD5Wt7fsl2ay8R1AgIjpRHIbO"
    "cO6sj*O4gRdAwUThF*3ULm-TolfXZ9VsjM4Kkurq2WXqbuWmjfzcjT2-XsDrDaDXRwA_"
)
STRING_TOKEN = (
    "eJxVjk0LgkAYhP-Lew5x7UNd8LDIFkGJ1ibaJVJXW8pcdO3D6L8HlofmNPPMHOYFbLXVbrwGDIamw6jPIuNXJXLR4*Yi"
    "Un5IKnVA02HQZOejlCIDjCb6T99GiZIDRuY-5Q8pag7Ymk0G1Da8TtocMJCAeKnxkLER5nFp61FH0XruPVlBeu3D0O2t"
    "W30BOT0Tw1YrRtGaOM7wSRSAIVjQoLjwe7L0bTsq-Uqdmw0llM1YYFa5mXbydtrV-nhrOfD*AD7OS-0_"
)


def refusal_of(
    token: str,
    *,
    room: RoomKey = ROOM,
    user: str = USER,
    needed: Privilege = RECEIVE,
    now_s: float = NOW,
) -> Fault | None:
    try:
        verify_private_map_key(token, KEY, room, user, needed, now_s=now_s)
    except IdentityError as error:
        return error.fault
    return None


def sign(ticket: bytes, *, user: str = USER, lifetime_s: int = DAY) -> str:
    return make_user_sig(KEY, APP, user, now_s=NOW, lifetime_s=lifetime_s, userbuf=ticket)


@pytest.mark.parametrize(
    ("token", "room", "ticket"),
    [
        pytest.param(NUMERIC_TOKEN, ROOM, NUMERIC_TICKET, id="numeric-room"),
        pytest.param(STRING_TOKEN, STRING_ROOM, STRING_TICKET, id="string-room"),
    ],
)
def test_an_official_token_is_accepted(token: str, room: RoomKey, ticket: bytes) -> None:
    assert refusal_of(token, room=room) is None
    assert verify_user_sig(token, KEY, APP, USER, now_s=NOW) == ticket


@pytest.mark.parametrize(
    ("room", "privileges", "ticket", "signature"),
    [
        pytest.param(
            ROOM,
            Privilege.ALL,
            NUMERIC_TICKET,
            "5ApSgv39lq3gz/Kk/5t4x8TbmoN9lcLOrMvWSfLZNSs=",
            id="numeric-room",
        ),
        pytest.param(
            STRING_ROOM,
            RECEIVE,
            STRING_TICKET,
            "QGEQglewbIP99XmPotksREAET6TQ7of7czpvhUrP3S8=",
            id="string-room",
        ),
        pytest.param(
            LAST_ROOM,
            Privilege.ALL,
            NUMERIC_TICKET.replace(b"\0\0\0\x96", b"\xff\xff\xff\xfe"),
            "y8mAZTEnwPlYZ2ijBSWTQXd9jqptNJXKAbsOYBF66/A=",
            id="last-numeric-room",
        ),
    ],
)
def test_our_ticket_is_the_official_one(
    room: RoomKey, privileges: Privilege, ticket: bytes, signature: str
) -> None:
    """Byte for byte, and the signature over it too."""
    token = make_private_map_key(KEY, room, USER, privileges, now_s=NOW, lifetime_s=DAY)
    assert verify_user_sig(token, KEY, APP, USER, now_s=NOW) == ticket
    official = TLSSigAPIv2(APP, KEY)
    sign_official = official._TLSSigAPIv2__hmacsha256
    assert sign_official(USER, NOW, DAY, base64.b64encode(ticket).decode()) == signature.encode()
    assert refusal_of(token, room=room) is None


@given(
    st.sampled_from([ROOM, STRING_ROOM, LAST_ROOM]),
    st.integers(0, 255).map(Privilege),
    st.integers(1, 255).map(Privilege),
)
def test_a_ticket_grants_its_privileges_and_no_other(
    room: RoomKey, granted: Privilege, needed: Privilege
) -> None:
    token = make_private_map_key(KEY, room, USER, granted, now_s=NOW, lifetime_s=DAY)
    expected = None if needed & ~granted == Privilege(0) else Fault.NOT_PERMITTED
    assert refusal_of(token, room=room, needed=needed) is expected


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        pytest.param(Fault.OTHER_ROOM, {"room": LAST_ROOM}, id="other-room"),
        pytest.param(
            Fault.OTHER_ROOM, {"room": RoomKey(APP, "150", RoomIdType.STRING)}, id="other-id-type"
        ),
        pytest.param(
            Fault.OTHER_APP, {"room": RoomKey(APP + 1, "150", RoomIdType.NUMBER)}, id="other-app"
        ),
        pytest.param(Fault.OTHER_USER, {"user": "slice_bot_151"}, id="other-user"),
        pytest.param(Fault.EXPIRED, {"now_s": NOW + DAY}, id="expired"),
    ],
)
def test_a_ticket_is_good_for_its_room_user_and_time(fault: Fault, case: dict[str, object]) -> None:
    assert refusal_of(NUMERIC_TOKEN, **case) is fault  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("token", "fault"),
    [
        pytest.param(
            make_user_sig(KEY, APP, USER, now_s=NOW, lifetime_s=DAY), Fault.NO_TICKET, id="user-sig"
        ),
        pytest.param(sign(b""), Fault.MALFORMED, id="empty"),
        pytest.param(sign(NUMERIC_TICKET[:-1]), Fault.MALFORMED, id="cut-off"),
        pytest.param(sign(NUMERIC_TICKET + b"\0"), Fault.MALFORMED, id="too-long"),
        pytest.param(sign(b"\x02" + NUMERIC_TICKET[1:]), Fault.MALFORMED, id="version-2"),
        pytest.param(sign(b"\x02" + STRING_TICKET[1:]), Fault.MALFORMED, id="version-2-string"),
        pytest.param(sign(STRING_TICKET[:-1]), Fault.MALFORMED, id="room-cut-off"),
        pytest.param(sign(STRING_TICKET[:-1] + b"\xff"), Fault.MALFORMED, id="room-not-utf-8"),
        pytest.param(
            sign(NUMERIC_TICKET.replace(b"bot_150", b"bot_151")), Fault.OTHER_USER, id="account"
        ),
        pytest.param(
            sign(NUMERIC_TICKET.replace(struct.pack("!I", APP), struct.pack("!I", APP + 1))),
            Fault.OTHER_APP,
            id="app",
        ),
    ],
)
def test_a_ticket_that_is_damaged_or_of_another_is_refused(token: str, fault: Fault) -> None:
    assert refusal_of(token) is fault


def test_a_ticket_expires_before_its_envelope() -> None:
    """The shorter of both lives counts."""
    token = sign(NUMERIC_TICKET, lifetime_s=2 * DAY)
    assert refusal_of(token, now_s=NOW + DAY - 1) is None
    assert refusal_of(token, now_s=NOW + DAY) is Fault.EXPIRED


@given(st.binary(max_size=60))
def test_a_garbage_ticket_is_refused_and_breaks_nothing(ticket: bytes) -> None:
    assert refusal_of(sign(ticket)) is not None
