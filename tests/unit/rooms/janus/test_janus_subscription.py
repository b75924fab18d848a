"""Each section's media is handed to its owner's track, and what is in between to nobody."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloudslice.rooms.janus.janus_errors import NO_SUCH_FEED, JanusError
from cloudslice.rooms.janus.janus_subscription import SubscriptionLostError
from helpers.rtp import RecordingSink
from helpers.scripted_janus import ScriptedJanus, scripted_janus


@pytest.fixture
async def janus() -> AsyncIterator[ScriptedJanus]:
    with scripted_janus() as scripted:
        running = asyncio.create_task(scripted.subscription.run())
        yield scripted
        running.cancel()
        await asyncio.wait([running])


def listen(janus: ScriptedJanus, feed: str) -> RecordingSink:
    sink = RecordingSink()
    janus.audio(feed).add_sink(sink)
    return sink


async def test_what_is_in_between_of_two_owners_is_nobodys(janus: ScriptedJanus) -> None:
    """On the same SSRC, with sequence numbers that go on, as Janus sends it."""
    janus.publish("A")
    a = listen(janus, "A")
    await janus.begin("A")
    janus.deliver(b"a1")
    janus.deliver(b"a2")
    janus.publish("B")  # A has left
    b = listen(janus, "B")
    janus.deliver(b"late of A")
    await janus.offer_to("B", request="update")
    janus.deliver(b"later of A")
    await janus.answer("start")
    janus.deliver(b"latest of A")
    await janus.answer("configure")
    await asyncio.sleep(0)
    janus.deliver(b"b1")
    janus.subscription.catch_up()

    assert a.payloads == [b"a1", b"a2"]
    assert b.payloads == [b"b1"]


async def test_media_that_outruns_the_news_is_nobodys(janus: ScriptedJanus) -> None:
    """Janus has given the section to B, and we do not know yet that A has left."""
    janus.publish("A", "B")
    a = listen(janus, "A")
    await janus.begin("A")
    janus.deliver(b"a1")
    b = listen(janus, "B")
    body = await janus.offer_to("B", request="update")
    assert [each["send"] for each in body["subscribe"]] == [False]
    await janus.answer("start")
    janus.deliver(b"too early")
    await janus.answer("configure")
    await asyncio.sleep(0)
    janus.deliver(b"b1")
    janus.subscription.catch_up()

    assert a.payloads == [b"a1"]
    assert b.payloads == [b"b1"]


async def test_who_publishes_again_is_subscribed_to_again(janus: ScriptedJanus) -> None:
    """Janus has taken the section away when the feed ended."""
    janus.publish("A")
    listen(janus, "A")
    await janus.begin("A")
    janus.publish()
    janus.publish("A")
    sink = listen(janus, "A")
    await janus.offer_to("A", request="update")
    await janus.answer("start")
    await janus.answer("configure")
    await asyncio.sleep(0)
    janus.deliver(b"again")
    janus.subscription.catch_up()
    assert sink.payloads == [b"again"]


async def test_who_leaves_and_returns_while_he_is_being_offered_is_subscribed_to_again(
    janus: ScriptedJanus,
) -> None:
    """What the offer says of him is of his former stay."""
    janus.publish("A")
    listen(janus, "A")
    await janus.begin("A")
    janus.publish("B")
    listen(janus, "B")
    await janus.offer_to("B", request="update")
    janus.publish()
    janus.publish("B")
    sink = listen(janus, "B")
    await janus.answer("start")
    await janus.offer_to("B", request="update")
    await janus.answer("start")
    await janus.answer("configure")
    await asyncio.sleep(0)
    janus.deliver(b"again")
    janus.subscription.catch_up()
    assert sink.payloads == [b"again"]


async def test_a_track_that_nobody_hears_any_more_is_left_after_a_while(
    janus: ScriptedJanus,
) -> None:
    janus.publish("A")
    sink = listen(janus, "A")
    await janus.begin("A")
    janus.audio("A").remove_sink(sink)
    janus.clock.now += 10
    body = await janus.answer("update")
    assert body["unsubscribe"] == [{"feed": "A", "mid": "a"}]
    assert "subscribe" not in body


async def test_a_feed_that_left_just_now_ends_nothing(janus: ScriptedJanus) -> None:
    janus.publish("A", "B")
    sink = listen(janus, "A")
    await janus.begin("A")
    listen(janus, "B")
    _, answer = await janus.session.asked.get()
    answer.set_exception(JanusError(NO_SUCH_FEED, "No such feed"))
    await asyncio.sleep(0)
    janus.deliver(b"a1")
    janus.subscription.catch_up()
    assert sink.payloads == [b"a1"]


@pytest.mark.parametrize("kind", ["hangup", "detached"])
async def test_the_end_of_the_connection_is_told(kind: str) -> None:
    with scripted_janus() as janus:
        running = asyncio.create_task(janus.subscription.run())
        janus.publish("A")
        listen(janus, "A")
        await janus.begin("A")
        janus.session.listener({"janus": kind, "reason": "DTLS alert"})
        with pytest.raises(SubscriptionLostError):
            await running
