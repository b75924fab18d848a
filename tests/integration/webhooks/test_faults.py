"""Exceptions that nobody foresaw, inside webhooks: they cost a pause and no event."""

from pathlib import Path
from typing import Any

import pytest

from cloudslice.webhooks import app_outbox, app_sender, history, outbox
from cloudslice.webhooks.client import WebhookClient
from helpers.failing import Failing
from helpers.webhook_site import CALLBACK_KEY, WebhookSite
from helpers.webhooks import WebhookReceiver


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(WebhookClient, "post", id="sending"),
        pytest.param(outbox, "end", id="recording a delivery"),
        pytest.param(outbox, "repeat", id="recording a failure"),
        pytest.param(outbox, "find_repeated", id="asking for repeated ones"),
        pytest.param(app_sender.AppSender, "_start_line", id="starting"),
        pytest.param(app_sender.AppSender, "run", id="an app's webhooks as a whole"),
    ],
)
async def test_a_webhook_that_meets_a_fault_is_sent_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    """So are those after it, and nothing is left on record."""
    for module in (app_sender, app_outbox):
        monkeypatch.setattr(module, "_FAULT_PAUSE_S", 0.05)
    monkeypatch.setattr("cloudslice.webhooks.senders._RESTART_S", 0.05)
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site = WebhookSite(tmp_path / "data", receiver.url)
        async with site.open() as opened:
            failing = Failing(monkeypatch, owner, name)
            receiver.answer = lambda _request: 500 if len(receiver.requests) == 1 else 200
            await opened.record_starts(2)
            await receiver.wait_for_type(1001, count=2)
            await opened.none_waits()
            assert failing.has_failed
            assert opened.webhooks.faults.errors


async def test_a_fault_while_the_history_is_measured_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is measured later."""
    async with WebhookReceiver(CALLBACK_KEY) as receiver:
        site = WebhookSite(tmp_path / "data", receiver.url)
        failing = Failing(monkeypatch, history, "measure")
        async with site.open() as opened:
            await opened.record_starts(2)
            await receiver.wait_for_type(1001, count=2)
            await opened.none_waits()
    assert failing.has_failed
