"""Whatever comes: every datagram is accounted for once, and comes out as if it had come alone."""

import random
from collections import Counter
from contextlib import closing

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.webrtc.native.native_events import Datagram, Event, Packet, Stranger, Unknown
from cloudslice.webrtc.native.native_port import NativeStream
from helpers.native_peer import (
    AUDIO_SSRC,
    OPUS,
    OTHER_PATH,
    PATH,
    VIDEO_SSRC,
    Receiving,
    missing,
    numbers,
    rtp,
    runs,
)
from helpers.rtp import unpack_run

_FOREIGN = 13
_OTHER_SSRC = 0xDEAD


def _any_datagrams(dice: random.Random, sender: Receiving) -> list[tuple[bytes, bytes]]:
    """Datagrams with their paths: garbage, RTP of all kinds, spoilt and repeated."""
    made: list[tuple[bytes, bytes]] = []
    for _ in range(dice.randrange(100)):
        kind = dice.choice(["rtp"] * 6 + ["garbage", "rtp-like", "spoilt", "again"])
        if kind == "garbage":
            datagram = dice.randbytes(dice.randrange(40))
        elif kind == "rtp-like":
            datagram = b"\x80\x6f" + bytes(6) + dice.randbytes(dice.randrange(60))
        elif kind == "again" and made:
            datagram = dice.choice(made)[0]
        else:
            datagram = sender.protect(_any_packet(dice))
            if kind == "spoilt":
                datagram = datagram[:-1] + bytes([datagram[-1] ^ 1])
        made.append((datagram, dice.choice([PATH] * 8 + [OTHER_PATH])))
    return made


def _any_packet(dice: random.Random) -> bytes:
    sequence = dice.randrange(500, 570)
    payload = b"\xf8" + sequence.to_bytes(8) if dice.random() < 0.9 else b""
    return rtp(
        dice.choice([AUDIO_SSRC, AUDIO_SSRC, VIDEO_SSRC, _OTHER_SSRC]),
        sequence,
        960 * sequence,
        payload,
        payload_type=dice.choice([OPUS, OPUS, OPUS, _FOREIGN]),
    )


@settings(max_examples=300)
@given(seed=st.integers(0, 1 << 32), is_read=st.booleans())
def test_every_datagram_is_accounted_for_once(seed: int, is_read: bool) -> None:
    """Counted by its stream, as refused, or handed out as an event that has nowhere to go."""
    dice = random.Random(seed)
    with closing(Receiving(slots=128)) as receiving:
        streams = receiving.audio(), receiving.video()
        streams[1].read(is_read=is_read)
        sent = _any_datagrams(dice, receiving)
        while sent:
            some = dice.randrange(1, len(sent) + 1)
            for datagram, path in sent[:some]:
                receiving.put(datagram, path=path)
            del sent[:some]
            receiving.process()
        total = Counter(type(each) for each in receiving.events)
        state = receiving.peer.state
        fates = Counter(
            others=total[Datagram],
            strangers=total[Stranger],
            refused=state.not_authentic + state.repeated + state.malformed,
            unassigned=state.unassigned,
            received=sum(each.state.received for each in streams),
        )
        assert sum(fates.values()) == receiving.port.datagrams, fates
        assert total[Unknown] == state.unassigned, "nobody has made a stream of one"
        assert total[Packet] + streams[1].state.unread == streams[1].state.received
        check_audio(receiving, streams[0])


def check_audio(receiving: Receiving, stream: NativeStream) -> None:
    """In order, each once; what did not come out is counted."""
    receiving.flush()
    came_out = numbers(receiving.events)
    assert came_out == sorted(set(came_out))
    state = stream.state
    assert state.late <= state.received - len(came_out)
    for event in runs(receiving.events):
        for payload, timestamp in unpack_run(event.run):
            assert timestamp % 2**32 == 960 * int.from_bytes(payload[1:]) % 2**32


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_packets_read_at_once_come_out_as_one_by_one(data: st.DataObject) -> None:
    """Order, losses, repeats, foreign ones, figures, whatever came with them."""
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    with closing(Receiving()) as one_by_one, closing(Receiving()) as at_once:
        sent = _stream_of(data, dice, one_by_one)
        streams = [each.audio(patience_s=0.4) for each in (one_by_one, at_once)]
        for arrival, packet in sent:
            one_by_one.put(packet, arrival=arrival)
            one_by_one.process(now=0.0)
        while sent:
            some = data.draw(st.integers(1, len(sent)))
            for arrival, packet in sent[:some]:
                at_once.put(packet, arrival=arrival)
            del sent[:some]
            at_once.process(now=0.0)
        for each in (one_by_one, at_once):
            each.process(now=0.1)
            each.flush()
        assert packets_of(one_by_one.events) == packets_of(at_once.events)
        assert missing(one_by_one.events) == missing(at_once.events)
        first, second = (bytes(each.state) for each in streams)
        assert first == second
        reports = [each.report() for each in streams]
        assert bytes(reports[0] or b"") == bytes(reports[1] or b"")
        assert bytes(one_by_one.peer.state) == bytes(at_once.peer.state)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_opus_packets_come_out_in_order_each_once(data: st.DataObject) -> None:
    """Under any loss, repetition and reordering, with time going by: all but those that came
    later than the others waited."""
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    with closing(Receiving()) as receiving:
        stream = receiving.audio(patience_s=0.25)
        sent = _stream_of(data, dice, receiving, foreign=0)
        now = 0.0
        while sent:
            now += 1 / 12
            for arrival, packet in sent:
                if arrival <= now:
                    receiving.put(packet, arrival=arrival)
            sent = [each for each in sent if each[0] > now]
            receiving.process(now=now)
        receiving.flush()
        came_out = numbers(receiving.events)
        assert came_out == sorted(set(came_out))
        state = stream.state
        assert len(came_out) == state.received - state.late
        if came_out:
            assert came_out[-1] - came_out[0] + 1 == len(came_out) + state.lost


def _stream_of(
    data: st.DataObject, dice: random.Random, sender: Receiving, *, foreign: float = 0.05
) -> list[tuple[float, bytes]]:
    """Protected packets by their arrival, some lost, repeated or late."""
    start = data.draw(st.sampled_from([0, 0xFFC0]))
    timestamp = data.draw(st.sampled_from([0, (1 << 32) - 9600]))
    loss, repeat, jitter = (data.draw(st.sampled_from([0, 0, 0.02, 0.3])) for _ in range(3))
    sent = []
    for index in range(data.draw(st.integers(1, 120))):
        timestamp += 960 if dice.random() > 0.05 else 4000
        toc = b"\xf8" if dice.random() > 0.1 else b"\xf9"
        packet = rtp(
            AUDIO_SSRC,
            start + index,
            timestamp,
            toc + index.to_bytes(8),
            payload_type=_FOREIGN if dice.random() < foreign else OPUS,
        )
        datagram = sender.protect(packet)
        for _ in range(2 if dice.random() < repeat else 1):
            if index == 0 or dice.random() >= loss:
                late_s = dice.choice([0, 0.03, 0.3, 0.9]) if dice.random() < jitter else 0
                sent.append((index * 0.02 + (late_s if index else 0), datagram))
    return sorted(sent, key=lambda each: each[0])


def packets_of(events: list[Event]) -> list[tuple[bytes, int]]:
    """The Opus packets and their timestamps, however they are joined."""
    return [each for event in runs(events) for each in unpack_run(event.run)]
