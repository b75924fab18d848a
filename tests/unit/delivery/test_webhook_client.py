"""Signatures of webhooks (contract E1)."""

import pytest

from cloudslice.delivery.webhook_client import sign

PUBLISHED = (
    '{\n\t"EventGroupId":\t2,\n\t"EventType":\t204,\n\t"CallbackTs":\t1664209748188,\n'
    '\t"EventInfo":\t{\n\t\t"RoomId":\t8489,\n\t\t"EventTs":\t1664209748,\n'
    '\t\t"EventMsTs":\t1664209748180,\n\t\t"UserId":\t"user_85034614",\n\t\t"Reason":\t0\n\t}\n}'
)
OWN = (
    '{"EventGroupId":10,"EventType":1001,"CallbackTs":1700000001250,"EventInfo":{"RoomId":150,'
    '"EventTs":1700000001,"EventMsTs":1700000001200,"UserId":"slice_bot_150",'
    '"TaskId":"-m9-EXAMPLE+TaskId..","Payload":{"Status":0}}}'
)


@pytest.mark.parametrize(
    ("key", "body", "expected"),
    [
        pytest.param(
            "123654", PUBLISHED, "kkoFeO3Oh2ZHnjtg8tEAQhtXK16/KI05W3BQff8IvGA=", id="published"
        ),
        pytest.param(
            "SliceCallbackKey0001", OWN, "UJ7ghrQYD1k5bMvC5ipV2inNUzn0sAQmrZM9lWnszTM=", id="own"
        ),
    ],
)
def test_vectors(key: str, body: str, expected: str) -> None:
    """The signature is over the very bytes, in the standard alphabet, padded."""
    assert sign(body.encode(), key) == expected
