"""Hours of an app's webhooks, in virtual time: order through outages, and what an outage costs."""

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudslice.bus import Bus
from cloudslice.config import AppSettings
from cloudslice.webhooks import outage, outbox
from cloudslice.webhooks.app_outbox import SenderContext
from cloudslice.webhooks.attempts import Attempts
from cloudslice.webhooks.bodies import EventType, Notice
from cloudslice.webhooks.callback_pace import CallbackPace
from cloudslice.webhooks.client import WebhookClient, WebhookError
from cloudslice.webhooks.senders import Senders
from helpers.memory_database import MemoryDatabase
from helpers.room_observer import make_bus
from helpers.virtual_time import LoopClock, run_in_virtual_time
from helpers.webhook_site import APP, open_memory

MINUTE, HOUR = 60.0, 3600.0
TIMEOUT_S = 5.0


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Receiver:
    """Takes bodies, but not while it is down; stands for a WebhookClient."""

    randomness: random.Random
    outages: list[tuple[float, float]] = field(default_factory=list)
    hangs: bool = False
    """Whether requests are left unanswered while it is down, not refused."""
    refused: set[str] = field(default_factory=set)
    """Bodies that it never takes."""
    answers_within_s: float = 0.3
    taken: list[tuple[float, str]] = field(default_factory=list)
    attempts: list[tuple[float, str]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0

    async def post(self, _app: AppSettings, body: bytes) -> None:
        self.attempts.append((now(), body.decode()))
        self.under_way += 1
        self.most_under_way = max(self.under_way, self.most_under_way)
        try:
            await self._answer(body.decode())
        finally:
            self.under_way -= 1

    async def _answer(self, body: str) -> None:
        if any(start <= now() < end for start, end in self.outages):
            if self.hangs:
                await asyncio.sleep(TIMEOUT_S)
                raise WebhookError("no answer")
            raise WebhookError("HTTP status 503", has_answer=True)
        if body in self.refused:
            raise WebhookError("HTTP status 400", has_answer=True)
        self.taken.append((now(), body))
        await asyncio.sleep(self.randomness.uniform(0, self.answers_within_s))

    @property
    def bodies(self) -> list[str]:
        return [body for _, body in self.taken]

    def of(self, subject: str) -> list[int]:
        """The numbers of a subject's events, as they came."""
        parts = (body.split("/") for body in self.bodies)
        return [int(number) for each, number in parts if each == subject]


@dataclass
class Office:
    """Webhooks of one app at work."""

    receiver: Receiver
    memory: MemoryDatabase
    senders: Senders
    attempts: Attempts
    steady_ms: Callable[[], int]
    numbers: dict[str, "itertools.count[int]"] = field(
        default_factory=lambda: defaultdict(itertools.count)
    )

    recorded_at: dict[str, float] = field(default_factory=dict)
    """By body."""

    async def record(self, subject: str) -> None:
        """Something happens to a task."""
        body = f"{subject}/{next(self.numbers[subject])}"
        notice = Notice(APP, subject, EventType.FILE_INFO, 150, {})
        event = await self.memory.persist(
            lambda c: outbox.insert(
                c, notice, body.encode(), created_ms=0, since_ms=self.steady_ms(), now_at=now()
            )
        )
        self.recorded_at[body] = now()
        self.senders.take(APP, event)

    async def record_for(self, seconds: float, every_s: float, *subjects: str) -> None:
        """Something happens to each of the tasks all that time."""
        end = now() + seconds
        while now() < end:
            for subject in subjects:
                await self.record(subject)
            await asyncio.sleep(every_s)

    @property
    def waiting(self) -> int:
        return outbox.count_waiting(self.memory.connection)


@asynccontextmanager
async def open_office(
    receiver: Receiver, pace: CallbackPace | None = None
) -> AsyncIterator[Office]:
    clock = LoopClock()
    memory = MemoryDatabase(open_memory())
    app = AppSettings.model_validate(
        {"sdk_app_id": APP, "secret_key": "x", "callback_url": "http://hook/"}
    )
    bus: Bus = make_bus()
    attempts = Attempts(cast(WebhookClient, receiver), {APP: app}.get, bus, clock)

    def steady_ms() -> int:
        return round(clock.monotonic() * 1000)

    context = SenderContext(
        memory.database, clock, steady_ms, pace or CallbackPace(), attempts, lambda _endings: None
    )
    senders = Senders(context)
    is_ready = asyncio.Event()
    running = asyncio.create_task(senders.run(is_ready))
    await is_ready.wait()
    yield Office(receiver, memory, senders, attempts, steady_ms)
    running.cancel()
    await asyncio.wait([running])


def simulate(
    receiver: Receiver, live: Callable[[Office], Awaitable[None]], pace: CallbackPace | None = None
) -> None:
    async def run() -> None:
        async with open_office(receiver, pace) as office:
            await live(office)
            assert office.attempts.faults.errors == 0

    run_in_virtual_time(run())


def make_receiver(**options: object) -> Receiver:
    return Receiver(random.Random(1), **options)  # type: ignore[arg-type]


@pytest.fixture
def _in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ever tried out of its order, as one probe of eight is."""
    monkeypatch.setattr(outage, "_ANY_EVERY", 10**9)


@pytest.mark.usefixtures("_in_order")
@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
@pytest.mark.parametrize("minutes", [2, 30])
def test_events_come_in_order_after_an_outage(minutes: float, *, hangs: bool) -> None:
    """Those that happened before, during and after it, each once; soon after it is over."""
    end = 10 * MINUTE + minutes * MINUTE
    receiver = make_receiver(outages=[(10 * MINUTE, end)], hangs=hangs)

    async def live(office: Office) -> None:
        await office.record_for(end + 5 * MINUTE, 7.0, "a", "b", "c")
        assert office.waiting <= 3
        await asyncio.sleep(MINUTE)
        assert office.waiting == 0

    simulate(receiver, live)
    for subject in "abc":
        numbers = receiver.of(subject)
        assert numbers == list(range(len(numbers)))
    first = min(at for at, _ in receiver.taken if at > end)
    assert first <= end + 10 + 2 * TIMEOUT_S + 7


@pytest.mark.usefixtures("_in_order")
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32),
    hangs=st.booleans(),
    answers_within_s=st.sampled_from([0.01, 0.9]),
    every_s=st.sampled_from([3.0, 20.0]),
    lengths=st.lists(st.tuples(st.floats(30, 900), st.floats(150, 1200)), min_size=1, max_size=2),
)
def test_order_is_kept_whatever_the_outages(
    seed: int,
    hangs: bool,
    answers_within_s: float,
    every_s: float,
    lengths: list[tuple[float, float]],
) -> None:
    """Of some minutes each, while things happen to three tasks; none is left out or doubled."""
    outages, at = [], 0.0
    for up_s, down_s in lengths:
        outages.append((at + up_s, at + up_s + down_s))
        at += up_s + down_s
    receiver = Receiver(
        random.Random(seed), outages, hangs=hangs, answers_within_s=answers_within_s
    )

    async def live(office: Office) -> None:
        await office.record_for(at + 30, every_s, "a", "b", "c")
        async with asyncio.timeout(12 * HOUR):
            while office.waiting:  # noqa: ASYNC110
                await asyncio.sleep(10)

    simulate(receiver, live)
    for subject in "abc":
        assert receiver.of(subject) == list(range(len(receiver.of(subject))))
    assert max(Counter(receiver.bodies).values()) == 1


def test_an_outage_costs_few_requests() -> None:
    """In its first minute the documented ones; then two at a time, six times a minute at most."""
    receiver = make_receiver(outages=[(0, 2 * HOUR)])

    async def live(office: Office) -> None:
        await office.record_for(20 * MINUTE - 10, 1.0, *(f"task{n}" for n in range(10)))

    simulate(receiver, live)
    later = [at for at, _ in receiver.attempts if at > 2 * MINUTE]
    assert len(later) <= 2 * 6 * 18 + 10
    assert receiver.most_under_way <= 64


def test_a_backlog_is_not_sent_through_while_the_receiver_goes_down_again() -> None:
    """After a moment's return, those that fail are few, and all come in order in the end."""
    back = 20 * MINUTE
    receiver = make_receiver(outages=[(0, back), (back + 15, 2 * back)], answers_within_s=0.9)

    async def live(office: Office) -> None:
        await office.record_for(back + 1, 2.0, *(f"task{n}" for n in range(10)))
        await asyncio.sleep(back + 40 * MINUTE)
        assert office.waiting == 0

    simulate(receiver, live)
    assert [body for at, body in receiver.taken if back <= at < back + 15]
    again = [body for at, body in receiver.attempts if back + 15 <= at < back + 75]
    assert len(again) < 100
    for n in range(10):
        numbers = receiver.of(f"task{n}")
        assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("every_s", [5.0, 90.0, 600.0])
def test_an_event_that_is_never_taken_holds_up_no_other(every_s: float) -> None:
    """Also none of its own task; it is tried ever more rarely, and given up in the end."""
    receiver = make_receiver(refused={"a/3"})

    async def live(office: Office) -> None:
        await office.record_for(3 * HOUR, every_s, "a")
        await asyncio.sleep(MINUTE)
        assert office.waiting == 1
        await asyncio.sleep(24 * HOUR)
        assert office.waiting == 0
        assert office.attempts.counters.given_up == 1
        delays = [at - office.recorded_at[body] for at, body in receiver.taken]
        assert max(delays) < 10.1 if every_s > 60 else max(delays) < 1

    simulate(receiver, live)
    numbers = receiver.of("a")
    assert numbers == [n for n in range(numbers[-1] + 1) if n != 3]


def test_several_events_that_are_never_taken_hold_up_no_other() -> None:
    """The first ones of their task, with nothing else to tell that the receiver is there."""
    receiver = make_receiver(refused={f"a/{n}" for n in range(8)})

    async def live(office: Office) -> None:
        await office.record_for(8 * 20.0, 20.0, "a")
        await asyncio.sleep(10 * MINUTE)
        await office.record_for(20 * MINUTE, 20.0, "a")
        await asyncio.sleep(20 * MINUTE)

    simulate(receiver, live)
    assert len(receiver.of("a")) > 50


def test_without_retention_each_event_has_its_minute() -> None:
    """And no more, however long the receiver is down."""
    receiver = make_receiver(outages=[(0, HOUR)])

    async def live(office: Office) -> None:
        await office.record_for(5 * MINUTE, 10.0, "a")
        await asyncio.sleep(2 * MINUTE)
        assert office.waiting == 0

    simulate(receiver, live, CallbackPace(retention_s=0))
    counts = Counter(body for _, body in receiver.attempts)
    assert set(counts.values()) == {7}


def test_what_is_older_than_the_retention_is_given_up_in_an_outage() -> None:
    """Also what was never tried; what is younger is delivered."""
    receiver = make_receiver(outages=[(0, 3 * HOUR)])

    async def live(office: Office) -> None:
        await office.record_for(4 * HOUR, 30.0, "a")
        await asyncio.sleep(MINUTE)
        assert office.waiting == 0
        assert office.attempts.counters.given_up + len(receiver.taken) == 480

    simulate(receiver, live, CallbackPace(retention_s=HOUR))
    numbers = receiver.of("a")
    assert numbers == sorted(numbers)
    assert 235 <= numbers[0] <= 262


def test_however_many_are_too_old_are_given_up() -> None:
    """At each try of the receiver all of them: the outbox must not grow for ever."""
    receiver = make_receiver(outages=[(0, 100 * HOUR)])

    async def live(office: Office) -> None:
        await office.record_for(10 * MINUTE, 0.5, "a")
        await asyncio.sleep(HOUR + 10 * MINUTE)
        assert office.waiting == 0
        assert office.attempts.counters.given_up == len(office.recorded_at) > 1000

    simulate(receiver, live, CallbackPace(retention_s=HOUR))


def test_the_documented_attempts_are_made() -> None:
    """At once, and every 10 s for a minute; then after 30 s, and after half of the age."""
    receiver = make_receiver(outages=[(0, HOUR)])

    async def live(office: Office) -> None:
        await office.record("a")
        await asyncio.sleep(200)

    simulate(receiver, live)
    times = [at for at, _ in receiver.attempts]
    assert times == pytest.approx([0, 0, 10, 20, 30, 40, 50, 80, 120, 180], abs=0.3)
