"""DescribeCloudSliceEvents and ReplayCloudSliceEvents: what they ask for, and what they answer."""

from typing import Any

import pytest

from cloudslice.webhooks.history import EventQuery, ListedEvent, ListedState, Page
from helpers.api_fakes import APP, FORBIDDEN_APP, GatewayBench, make_settings

DESCRIBE, REPLAY = "DescribeCloudSliceEvents", "ReplayCloudSliceEvents"
FILTERS = {"EventId": 5, "TaskId": "t", "Since": 1000, "EventType": 1004, "State": "given-up"}
FULL = EventQuery(APP, 5, "t", 1000, 1004, ListedState.GIVEN_UP)
DELIVERED = ListedEvent(7, 1004, ListedState.DELIVERED, 1, 1000, 1200, None, b'{"EventType":1004}')
WAITING = ListedEvent(8, 1006, ListedState.WAITING, 3, 2000, None, "HTTP status 500", b"{}")


@pytest.fixture
def bench() -> GatewayBench:
    """An app with a callback URL."""
    settings = make_settings()
    apps = [app.model_copy(update={"callback_url": "http://hook/"}) for app in settings.apps]
    return GatewayBench(settings.model_copy(update={"apps": tuple(apps)}))


async def test_a_page_of_events(bench: GatewayBench) -> None:
    """What is not known of an event is left out; the body is the text that was sent."""
    bench.events.page = Page([DELIVERED, WAITING], 8)
    answer = await bench.call(DESCRIBE, {"SdkAppId": APP, "Marker": 3, "Limit": 2, **FILTERS})
    assert bench.events.asked == [(FULL, 3, 2)]
    assert answer.body["NextMarker"] == 8
    assert answer.body["Events"] == [
        {
            "EventId": 7, "EventType": 1004, "State": "delivered", "Attempts": 1,
            "CreatedMs": 1000, "EndedMs": 1200, "Body": '{"EventType":1004}',
        },
        {
            "EventId": 8, "EventType": 1006, "State": "waiting", "Attempts": 3,
            "CreatedMs": 2000, "LastError": "HTTP status 500", "Body": "{}",
        },
    ]  # fmt: skip


async def test_the_last_page_has_no_marker(bench: GatewayBench) -> None:
    """Without filters all events of the app are meant, 20 at a time."""
    answer = await bench.call(DESCRIBE, {"SdkAppId": APP})
    assert answer.body.keys() == {"Events", "RequestId"}
    assert bench.events.asked == [(EventQuery(APP), 0, 20)]


async def test_a_replay(bench: GatewayBench) -> None:
    answer = await bench.call(REPLAY, {"SdkAppId": APP, **FILTERS})
    assert answer.body["Count"] == 7
    assert bench.events.replayed == [FULL]


@pytest.mark.parametrize("filters", [{}, {"EventType": 1004}, {"State": "delivered"}])
async def test_not_everything_is_replayed_by_mistake(
    bench: GatewayBench, filters: dict[str, Any]
) -> None:
    answer = await bench.call(REPLAY, {"SdkAppId": APP, **filters})
    assert answer.code == "MissingParameter"
    assert bench.events.replayed == []


async def test_what_waits_is_not_replayed(bench: GatewayBench) -> None:
    """It is sent anyway: who asks for it has mistaken something."""
    answer = await bench.call(REPLAY, {"SdkAppId": APP, "TaskId": "t", "State": "waiting"})
    assert answer.code == "InvalidParameterValue"
    assert "sent anyway" in answer.message
    assert bench.events.replayed == []


async def test_without_a_receiver_nothing_is_replayed() -> None:
    answer = await GatewayBench().call(REPLAY, {"SdkAppId": APP, "TaskId": "t"})
    assert answer.code == "FailedOperation"
    assert "callback_url" in answer.message


@pytest.mark.parametrize("action", [DESCRIBE, REPLAY])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"SdkAppId": None}, "MissingParameter.SdkAppId"),
        ({"SdkAppId": FORBIDDEN_APP}, "AuthFailure.UnauthorizedOperation"),
        ({"SdkAppId": 5}, "InvalidParameter.SdkAppId"),
        ({"State": "lost"}, "InvalidParameter.OutOfRange"),
        ({"Since": "yesterday"}, "InvalidParameter"),
        ({"Since": 2**63}, "InvalidParameter.OutOfRange"),
        ({"EventId": 2**63}, "InvalidParameter.OutOfRange"),
        ({"Offset": 0}, "UnknownParameter"),
    ],
)
async def test_wrong_parameters(
    bench: GatewayBench, action: str, changes: dict[str, Any], code: str
) -> None:
    answer = await bench.call(action, {"SdkAppId": APP, "TaskId": "t"} | changes)
    assert answer.code == code


@pytest.mark.parametrize("limit", [0, 101])
async def test_the_size_of_a_page_is_bounded(bench: GatewayBench, limit: int) -> None:
    answer = await bench.call(DESCRIBE, {"SdkAppId": APP, "Limit": limit})
    assert answer.code == "InvalidParameter.OutOfRange"


async def test_calls_are_limited_like_others(bench: GatewayBench) -> None:
    """20 a second of each action."""
    codes = [(await bench.call(DESCRIBE, {"SdkAppId": APP})).code for _ in range(21)]
    assert codes == [None] * 20 + ["RequestLimitExceeded"]


async def test_a_fault_of_ours(bench: GatewayBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(bench.events), "find")
    answer = await bench.call(DESCRIBE, {"SdkAppId": APP})
    assert answer.code == "InternalError.CSInternalError"
