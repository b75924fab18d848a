"""Exceptions that nobody foresaw, inside webhooks: they cost a pause and no event."""

from pathlib import Path
from typing import Any

import pytest

from cloudslice.webhooks import dispatcher, outbox
from cloudslice.webhooks.client import WebhookClient
from helpers.failing import Failing
from helpers.webhook_site import CALLBACK_KEY, WebhookSite
from helpers.webhooks import WebhookReceiver


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(WebhookClient, "post", id="sending"),
        pytest.param(outbox, "delete", id="recording a delivery"),
        pytest.param(outbox, "mark_failed", id="recording a failure"),
        pytest.param(outbox, "find_retries", id="asking for retries"),
        pytest.param(outbox, "find_next_retry", id="asking for the next retry"),
        pytest.param(dispatcher.Dispatcher, "_start_new", id="starting"),
        pytest.param(dispatcher.Dispatcher, "run", id="an app's webhooks as a whole"),
    ],
)
async def test_a_webhook_that_meets_a_fault_is_sent_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """So are those after it, and nothing is left on record."""
    monkeypatch.setattr(dispatcher, "_FAULT_PAUSE_S", 0.05)
    monkeypatch.setattr("cloudslice.webhooks.sender._RESTART_S", 0.05)
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site = WebhookSite(tmp_path / "data", receiver.url)
        async with site.open() as opened:
            failing = Failing(monkeypatch, owner, name)
            receiver.answer = lambda _request: 500 if len(receiver.requests) == 1 else 200
            await opened.record_starts(2)
            await receiver.wait_for_type(1001, count=2)
            await opened.none_waits()
            assert failing.has_failed
            assert opened.counters.errors
