"""Whatever comes: every datagram is accounted for once, and delivered as if it came alone."""

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.batch import Batch
from cloudslice.rtp.native import PeerStruct
from helpers.listening import (
    AUDIO_SSRC,
    CELT_20_MS,
    FOREIGN,
    OPUS,
    OTHER_AUDIO_SSRC,
    RTP_LIKE,
    VIDEO_SSRC,
    Listener,
    audio,
    payloads_of,
    video,
)
from helpers.rtp import (
    ClearSrtp,
    RecordingSink,
    feed,
    forged,
    refill,
    take_in,
    unpack_run,
)

_GARBAGE = st.one_of(
    st.binary(max_size=40),
    st.builds(bytes.__add__, st.just(RTP_LIKE), st.binary(max_size=40)),
    st.builds(
        lambda ssrc, tail: RTP_LIKE + ssrc.to_bytes(4) + tail,
        st.sampled_from([AUDIO_SSRC, VIDEO_SSRC]),
        st.binary(max_size=40),
    ),
)
_REAL = st.one_of(
    st.builds(audio, st.integers(0, 60)),
    st.builds(lambda sequence: audio(sequence, b""), st.integers(0, 60)),
    st.builds(lambda sequence: audio(sequence, payload_type=FOREIGN), st.integers(0, 60)),
    st.builds(lambda sequence: audio(sequence, ssrc=OTHER_AUDIO_SSRC), st.integers(65500, 65570)),
    st.builds(video, st.integers(65500, 65570)),
    st.builds(lambda sequence: forged(audio(sequence)), st.integers(0, 60)),
)
_MUTATED = st.builds(
    lambda packet, cut, flags: (bytes([packet[0] | flags]) + packet[1:])[:cut],
    _REAL,
    st.integers(0, 30),
    st.integers(0, 0x3F),
)
_DATAGRAMS = st.lists(st.one_of(_GARBAGE, _REAL, _REAL, _MUTATED), max_size=120)


@settings(max_examples=300)
@given(_DATAGRAMS, st.integers(0, 70))
def test_every_datagram_is_accounted_for_once(datagrams: list[bytes], read_from: int) -> None:
    """Whatever it is, and in whatever company."""
    listener = Listener()
    listener.video.read_from = 65500 + read_from
    heard = listener.hear(*datagrams)
    fates = Counter(_fate(each) for each in datagrams)
    assert [datagrams[slot] for slot in heard.others] == [
        each for each in datagrams if _fate(each) == "other"
    ]
    videos = [media for track, media in heard.media if track == 2]
    assert len(videos) + listener.video.unread == fates["video"] - (
        listener.peer.not_authentic
        + listener.peer.malformed
        - fates["forged audio"]
        - fates["malformed audio"]
    )
    opus = Counter(
        payload
        for track, media in heard.media
        if track < 2
        for payload in payloads_of(media)
        if payload
    )
    assert opus == Counter(
        payload
        for each in datagrams
        if _fate(each) == "audio" and each[1] & 0x7F == OPUS and (payload := _payload(each))
    )
    foreign = listener.audio.foreign + listener.other_audio.foreign
    assert foreign == len(
        [each for each in datagrams if _fate(each) == "audio" and each[1] & 0x7F != OPUS]
    )


def _fate(datagram: bytes) -> str:
    if len(datagram) < 12 or datagram[0] >> 6 != 2 or 192 <= datagram[1] <= 223:
        return "other"
    ssrc = int.from_bytes(datagram[8:12])
    if ssrc == VIDEO_SSRC:
        return "video"
    if ssrc not in (AUDIO_SSRC, OTHER_AUDIO_SSRC):
        return "other"
    if datagram == forged(datagram):
        return "forged audio"
    return "audio" if _payload(datagram) is not None else "malformed audio"


def _payload(packet: bytes) -> bytes | None:
    """RFC 3550, 5.1; None of a packet that breaks its rules."""
    start, end = 12 + 4 * (packet[0] & 0x0F), len(packet)
    if packet[0] & 0x10:
        if start + 4 > end:
            return None
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])
    if packet[0] & 0x20:
        end -= packet[-1]
    return packet[start:end] if start <= end else None


@settings(max_examples=200)
@given(st.data())
def test_packets_read_at_once_are_delivered_as_one_by_one(data: st.DataObject) -> None:
    """By an AudioReceiver: order, losses, repeats, foreign ones, figures, whatever came with it."""
    count = data.draw(st.integers(1, 120))
    dice = random.Random(data.draw(st.integers(0, 1 << 32)))
    start = data.draw(st.sampled_from([0, 0xFFC0]))
    loss, repeat, jitter = (data.draw(st.sampled_from([0, 0, 0.02, 0.3])) for _ in range(3))
    sent = []
    timestamp = data.draw(st.sampled_from([0, (1 << 32) - 9600]))
    for index in range(count):
        timestamp += 960 if dice.random() > 0.05 else 4000
        kind = OPUS if dice.random() > 0.05 else FOREIGN
        toc = CELT_20_MS if dice.random() > 0.1 else b"\xf9"
        payload = toc + index.to_bytes(2) if dice.random() > 0.05 else b""
        packet = audio(start + index, payload, timestamp=timestamp, payload_type=kind)
        at = index * 0.02
        for _ in range(2 if dice.random() < repeat else 1):
            if index == 0 or dice.random() >= loss:
                late_s = dice.choice([0, 0.03, 0.3, 0.9]) if dice.random() < jitter else 0
                sent.append((at + (late_s if index else 0), packet))
    sent.sort(key=lambda each: each[0])
    one_by_one, at_once = (_Delivery() for _ in range(2))
    for arrival, packet in sent:
        feed(one_by_one.receiver, packet, arrival)
    while sent:
        some = data.draw(st.integers(1, len(sent)))
        at_once.hear([(packet, arrival) for arrival, packet in sent[:some]])
        del sent[:some]
    for each in (one_by_one, at_once):
        each.receiver.give_up_missing(1000.0)
    assert at_once.sink.packets == one_by_one.sink.packets
    assert at_once.receiver.counts == one_by_one.receiver.counts
    assert at_once.receiver.report_block(0) == one_by_one.receiver.report_block(0)
    assert at_once.receiver.last_authentic == one_by_one.receiver.last_authentic
    assert at_once.receiver.feedback(1, 1000.0) == one_by_one.receiver.feedback(1, 1000.0)


class _Delivery:
    """An AudioReceiver and its sink."""

    def __init__(self) -> None:
        self.receiver = AudioReceiver(frozenset({OPUS}), can_nack=True, monotonic=lambda: 0.0)
        self.receiver.adopt(AUDIO_SSRC)
        self.sink = RecordingSink()
        self.receiver.add_sink(self.sink)
        self._srtp = ClearSrtp()
        self._peer = PeerStruct()
        self._srtp.open_packets_of(self._peer)
        self._peer.listen_to([self.receiver.stream])

    def hear(self, datagrams: list[tuple[bytes, float]]) -> None:
        batch = Batch(len(datagrams))
        refill(batch, datagrams)
        assert not list(
            take_in(batch, self._peer, lambda _track, media: self.receiver.receive(media))
        )


def test_a_runs_packets_have_the_timestamps_that_they_were_sent_with() -> None:
    packets = [(CELT_20_MS + bytes([index]), 5000 + index * 960) for index in range(10)]
    heard = Listener().hear(
        *(
            audio(index, payload, timestamp=timestamp)
            for index, (payload, timestamp) in enumerate(packets)
        )
    )
    (run,) = heard.runs
    assert list(unpack_run(run)) == packets
