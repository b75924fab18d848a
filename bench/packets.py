"""What a packet costs, from the socket to its slicer: the packet path alone.

N anchors' media (each 50 Opus packets of 120 bytes and 160 video packets of 1170 bytes a second,
AES-128-GCM) is encrypted in advance, put into the socket of a real RtpPort one beat (50 ms) at a
time, and read from it; only the reading is measured, by packets sent. The yardstick is a bare
`recvfrom` of the same datagrams in the same beats, in turns with the rest. Of all turns the
cheapest counts: what other processes do to the caches meanwhile is not the packet path's.

    python bench/packets.py [--anchors 20 100] [--seconds 5] [--json FILE] [--profile]
"""

import argparse
import asyncio
import contextlib
import cProfile
import json
import os
import platform
import pstats
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

from cloudslice.media.tracks import Keyframe, KeyframeRequest, OpusRun, TrackKind
from cloudslice.rtp.audio import AudioReceiver
from cloudslice.rtp.dtls import DtlsCertificate
from cloudslice.rtp.port import RtpPort
from cloudslice.rtp.sdp import parse_offer
from cloudslice.rtp.session import Session
from cloudslice.rtp.video import VideoReceiver
from helpers.peer import PAYLOAD_TYPES, SSRCS, Peer
from helpers.udp_peer import UdpPeer

BEAT_S = 0.05
AUDIO_RATE, AUDIO_SIZE = 50, 120
VIDEO_RATE, VIDEO_SIZE = 160, 1170
PACKETS_PER_FRAME = 5
SLICE_S = 0.5
"""Modes take turns after so much media, so that a busy machine slows all alike."""


class SteadyClock:
    """Media time: it goes on by one beat per beat, however long that took."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def utc_ms(self, at: float | None = None) -> int:
        return round((self.now if at is None else at) * 1000)


class CountingSink:
    """An AudioSink that counts."""

    def __init__(self) -> None:
        self.packets = 0

    def on_opus(self, run: OpusRun) -> None:
        self.packets += len(run.sizes)

    def on_restart(self) -> None:
        raise AssertionError("a lossless stream was restarted")

    def on_sender_time(self, timestamp: int, utc_ms: float) -> None:
        pass


class Anchor:
    """A peer on a socket of its own, and the session that receives it."""

    def __init__(self, port: RtpPort, clock: SteadyClock, index: int) -> None:
        self.peer = Peer()
        self.sink = CountingSink()
        self.audio_sequence = self.video_sequence = index * 7919 % 60000
        self.session = Session(
            parse_offer(self.peer.offer),
            certificate=CERTIFICATE,
            send=port.send,
            wake=port.wake,
            clock=clock,
            max_video_bitrate_kbps=2500,
            consent_timeout_s=30,
            on_connected=lambda session: None,
            on_closed=lambda session, reason: None,
        )
        port.add(self.session)
        answer = self.session.answer([("127.0.0.1", port.udp_port)])
        self._udp = UdpPeer(port, self.peer, answer, host="127.0.0.1")
        self._udp.connect()
        self.audio.add_sink(self.sink)

    @property
    def audio(self) -> AudioReceiver:
        receiver = self.session.receivers[TrackKind.AUDIO]
        assert isinstance(receiver, AudioReceiver)
        return receiver

    @property
    def video(self) -> VideoReceiver:
        receiver = self.session.receivers[TrackKind.VIDEO]
        assert isinstance(receiver, VideoReceiver)
        return receiver

    def packets(self, kinds: frozenset[TrackKind], beats: int, offset: int) -> list[list[bytes]]:
        """The encrypted packets of each beat."""
        made: list[list[bytes]] = [[] for _ in range(beats)]
        for beat, packets in enumerate(made):
            if TrackKind.AUDIO in kinds:
                for _ in range(_due(beat + offset, AUDIO_RATE)):
                    self.audio_sequence += 1
                    packets.append(self._packet(TrackKind.AUDIO, self.audio_sequence, 960))
            if TrackKind.VIDEO in kinds:
                for _ in range(_due(beat + offset, VIDEO_RATE)):
                    self.video_sequence += 1
                    packets.append(self._packet(TrackKind.VIDEO, self.video_sequence, 3000))
        return made

    def send(self, packets: list[bytes]) -> None:
        for packet in packets:
            self._udp.socket.send(packet)

    def _packet(self, kind: TrackKind, sequence: int, ticks: int) -> bytes:
        assert self.peer.srtp is not None
        per_frame = 1 if kind is TrackKind.AUDIO else PACKETS_PER_FRAME
        header = struct.pack(
            ">BBHII",
            0x80,
            PAYLOAD_TYPES[kind] | (sequence % per_frame == per_frame - 1) << 7,
            sequence & 0xFFFF,
            sequence // per_frame * ticks & 0xFFFFFFFF,
            SSRCS[kind],
        )
        size = AUDIO_SIZE if kind is TrackKind.AUDIO else VIDEO_SIZE
        return self.peer.srtp.protect(header + FILL[: size - 12 - 16])


@dataclass(frozen=True)
class Mode:
    """What is sent, and whether its video is read or thinned out by the kernel."""

    name: str
    kinds: frozenset[TrackKind]
    reads_video: bool = False
    is_thinned: bool = False


MIX = frozenset({TrackKind.AUDIO, TrackKind.VIDEO})
MODES = (
    Mode("mix, everything decrypted", MIX, reads_video=True),
    Mode("mix, video unread", MIX),
    Mode("mix, video thinned out", MIX, is_thinned=True),
    Mode("audio only", frozenset({TrackKind.AUDIO})),
    Mode("video only, unread", frozenset({TrackKind.VIDEO})),
    Mode("video only, decrypted", frozenset({TrackKind.VIDEO}), reads_video=True),
)
CERTIFICATE = DtlsCertificate()
FILL = os.urandom(2048)


@dataclass
class Result:
    """A mode's cost with so many anchors."""

    anchors: int
    mode: str
    packets: int
    us_per_packet: float
    ratio: float
    """To the yardstick of the same run."""


def _due(beat: int, rate: int) -> int:
    """Packets of a stream of `rate` a second that fall into a beat."""
    return int((beat + 1) * rate * BEAT_S) - int(beat * rate * BEAT_S)


def _ignore(_keyframe: Keyframe) -> None:
    raise AssertionError("random bytes are no key frame")


async def measure(
    anchors: int, seconds: float, profile: cProfile.Profile | None
) -> AsyncIterator[Result]:
    """Run all modes in turns; the port's own beat never gets its turn meanwhile."""
    beats = round(SLICE_S / BEAT_S)
    costs: dict[str, list[float]] = {mode.name: [] for mode in MODES}
    packets = dict.fromkeys(costs, 0)
    bare: list[float] = []
    clock = SteadyClock()
    async with RtpPort(0, "127.0.0.1", clock) as port:
        peers = [Anchor(port, clock, index) for index in range(anchors)]
        yardstick = Yardstick()
        for turn in range(1 + max(1, round(seconds / SLICE_S))):
            for mode in MODES:
                sent = [
                    each.packets(mode.kinds, beats, offset=turn * beats + index)
                    for index, each in enumerate(peers)
                ]
                count = sum(len(datagrams) for each in sent for datagrams in each)
                if mode is MODES[0]:
                    bare.append(yardstick.run(sent) / count * 1e6)
                spent = run(port, clock, peers, sent, profile, mode)
                costs[mode.name].append(spent / count * 1e6)
                packets[mode.name] += count
        check(peers)
    base = min(bare[1:])  # without the first turn, which warms up
    yield Result(anchors, "bare recvfrom of the mix", packets[MODES[0].name], round(base, 2), 1.0)
    for mode in MODES:
        cost = min(costs[mode.name][1:])
        yield Result(anchors, mode.name, packets[mode.name], round(cost, 2), round(cost / base, 2))


def run(
    port: RtpPort,
    clock: SteadyClock,
    peers: list[Anchor],
    sent: list[list[list[bytes]]],
    profile: cProfile.Profile | None,
    mode: Mode,
) -> float:
    """Seconds of CPU that RtpPort takes for the datagrams of each anchor and beat."""
    if not mode.is_thinned:
        # While key frames are wanted nothing is thinned out; and these are never due.
        requests = [each.video.request_keyframe(_ignore, float("inf")) for each in peers]
        port.beat(clock.now)
        if not mode.reads_video:
            _cancel(requests)

    def read() -> None:
        clock.now += BEAT_S
        if mode.is_thinned:
            port.beat(clock.now)
        else:
            port.read()
            port.give_feedback(clock.now)

    spent = _in_beats(sent, lambda index, datagrams: peers[index].send(datagrams), read, profile)
    if mode.reads_video:
        _cancel(requests)
    return spent


def _cancel(requests: Iterable[KeyframeRequest]) -> None:
    for each in requests:
        each.cancel()


class Yardstick:
    """A bare socket that is emptied in each beat."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        self._senders: dict[int, socket.socket] = {}

    def run(self, sent: list[list[list[bytes]]]) -> float:
        """Seconds of CPU that `recvfrom` takes for the datagrams of each anchor and beat."""
        return _in_beats(sent, self._send, self._read, None)

    def _send(self, index: int, datagrams: list[bytes]) -> None:
        if index not in self._senders:
            self._senders[index] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._senders[index].connect(self._socket.getsockname())
        for datagram in datagrams:
            self._senders[index].send(datagram)

    def _read(self) -> None:
        receive = self._socket.recvfrom
        with contextlib.suppress(BlockingIOError):
            while True:
                receive(1500)


def _in_beats(
    sent: list[list[list[bytes]]],
    send: Callable[[int, list[bytes]], None],
    read: Callable[[], None],
    profile: cProfile.Profile | None,
) -> float:
    spent = 0.0
    for beat in range(len(sent[0])):
        for index, each in enumerate(sent):
            send(index, each[beat])
        if profile is not None:
            profile.enable()
        started = time.thread_time()
        read()
        spent += time.thread_time() - started
        if profile is not None:
            profile.disable()
    return spent


def check(peers: list[Anchor]) -> None:
    for each in peers:
        session = each.session
        refused = session.not_authentic + session.malformed + session.unassigned
        if refused or each.audio.lost or not each.sink.packets:
            raise SystemExit("packets were lost or refused: the figures mean nothing")


async def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--anchors", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--seconds", type=float, default=5, help="of media, per mode")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    options = parser.parse_args()
    profile = cProfile.Profile() if options.profile else None
    results: list[Result] = []
    print(f"{'anchors':>7}  {'':26} {'packets':>8} {'us/packet':>9} {'x recvfrom':>10}")
    for anchors in options.anchors:
        async for result in measure(anchors, options.seconds, profile):
            results.append(result)
            print(
                f"{result.anchors:7}  {result.mode:26} {result.packets:8} "
                f"{result.us_per_packet:9.2f} {result.ratio:10.2f}"
            )
    if options.json is not None:
        machine = {"python": platform.python_version(), "cpus": os.cpu_count()}
        report = {"machine": machine, "results": [asdict(each) for each in results]}
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    asyncio.run(main())
