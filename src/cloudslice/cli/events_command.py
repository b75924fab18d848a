"""cloudslice events: what webhooks were and are to be sent, asked of the running server."""

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import click

from cloudslice.cli.api_client import ApiClient
from cloudslice.cli.common import app_option, choose_app, fail, read_settings, settings_option

_PAGE = 100
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGE = re.compile(r"(\d+)([smhd])")

Command = Callable[..., Any]

_SERVER = (
    settings_option,
    app_option,
    click.option("--url", help="Base URL of the server; by default that of `listen`."),
)
_FILTERS = (
    click.option("--task", "task_id", help="Of this TaskId."),
    click.option(
        "--since",
        help="Recorded then or later: 90s, 30m, 2h, 1d ago, or ISO 8601 (UTC without an offset).",
    ),
    click.option("--type", "event_type", type=int, help="Of this EventType, such as 1004."),
    click.option("--state", type=click.Choice(["waiting", "delivered", "given-up"])),
)


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator, in their order."""
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)


@click.group("events")
def events_command() -> None:
    """List the events of webhooks, and send them again.

    The running server is asked, with a credential of the settings file. It keeps events that were
    delivered or given up for `callbacks.history_hours` and up to `callbacks.history_mib`.
    """


@events_command.command("list")
@_options(*_SERVER, *_FILTERS)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with the body.")
def list_command(
    path: Path, sdk_app_id: int | None, url: str | None, as_json: bool, **filters: Any
) -> None:
    """List events, in the order in which they happened."""
    client = _open(path, sdk_app_id, url)
    for event in _find(client, _parameters(**filters)):
        click.echo(json.dumps(event, ensure_ascii=False) if as_json else _line(event))


@events_command.command("show")
@click.argument("event_id", type=int)
@_options(*_SERVER)
def show_command(event_id: int, path: Path, sdk_app_id: int | None, url: str | None) -> None:
    """Show one event, and the body of its webhook."""
    event = next(_find(_open(path, sdk_app_id, url), {"EventId": event_id}), None)
    if event is None:
        fail(f"there is no event {event_id}: it may have been deleted")
    body = event.pop("Body")
    for name, value in event.items():
        shown = _time(value) if name.endswith("Ms") else value
        click.echo(f"{name}: {shown}")
    click.echo(body)


@events_command.command("replay")
@click.argument("event_ids", type=int, nargs=-1, metavar="[EVENT_ID]...")
@_options(*_SERVER, *_FILTERS)
def replay_command(
    event_ids: tuple[int, ...], path: Path, sdk_app_id: int | None, url: str | None, **filters: Any
) -> None:
    """Send events again that were delivered or given up, with the same bodies and in order.

    Say which: EVENT_IDs, --task or --since, and what else they must be. Exits with 2 if there is
    nothing to send again of an EVENT_ID; the others are sent.
    """
    client, parameters = _open(path, sdk_app_id, url), _parameters(**filters)
    if not (event_ids or {"TaskId", "Since"} & parameters.keys()):
        fail("say which events to send again: EVENT_IDs, --task or --since")
    meant = [parameters | {"EventId": each} for each in event_ids] or [parameters]
    counts = [client.call("ReplayCloudSliceEvents", each)["Count"] for each in meant]
    count = sum(counts)
    click.echo(f"{count} {'event is' if count == 1 else 'events are'} sent again")
    if missed := [str(each) for each, n in zip(event_ids, counts, strict=False) if n == 0]:
        fail(f"not sent again: {', '.join(missed)}, which may wait still, or have been deleted")


def _open(path: Path, sdk_app_id: int | None, url: str | None) -> ApiClient:
    settings = read_settings(path)
    return ApiClient(settings, choose_app(settings, sdk_app_id), url)


def _find(client: ApiClient, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    marker: int | None = parameters.get("EventId", 1) - 1
    while marker is not None:
        page = client.call(
            "DescribeCloudSliceEvents", parameters | {"Marker": marker, "Limit": _PAGE}
        )
        yield from page["Events"]
        marker = None if "EventId" in parameters else page.get("NextMarker")


def _parameters(
    task_id: str | None, since: str | None, event_type: int | None, state: str | None
) -> dict[str, Any]:
    since_ms = None if since is None else _read_time(since)
    values = {"TaskId": task_id, "Since": since_ms, "EventType": event_type, "State": state}
    return {name: value for name, value in values.items() if value is not None}


def _read_time(text: str) -> int:
    """UTC milliseconds."""
    if age := _AGE.fullmatch(text):
        return round((time.time() - int(age[1]) * _AGES[age[2]]) * 1000)
    try:
        time_then = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--since: expected 90s, 30m, 2h, 1d or ISO 8601, got {text}")
    # All times that are printed are UTC.
    aware = time_then if time_then.tzinfo else time_then.replace(tzinfo=UTC)
    return round(aware.timestamp() * 1000)


def _line(event: dict[str, Any]) -> str:
    about = json.loads(event["Body"])["EventInfo"]
    subject = about.get("TaskId") or f"room {json.dumps(about['RoomId'])}"
    line = (
        f"{event['EventId']:>8}  {_time(event['CreatedMs'])}  {event['EventType']:>4}"
        f"  {event['State']:<9}  {event['Attempts']:>3}  {subject}"
    )
    return f"{line}  {event['LastError']}" if "LastError" in event else line


def _time(utc_ms: int) -> str:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds")
