"""Sends media as plain RTP to many receivers until standard input ends: neither DTLS nor SRTP.

python -m harness.rtp MEDIA VIDEO_PORT:AUDIO_PORT ...
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from cloudslice.clock import SystemClock
from cloudslice_publisher.pacer import Pacer
from cloudslice_publisher.playback import AudioPlayback, VideoPlayback
from harness.load import load_media

VIDEO_PAYLOAD_TYPE, AUDIO_PAYLOAD_TYPE = 96, 111


class PlainSender:
    """Numbers and stamps packets (RFC 3550) and sends each to all ports of this machine."""

    def __init__(self, ports: Sequence[int], payload_type: int) -> None:
        self._sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
        for each, port in zip(self._sockets, ports, strict=True):
            each.connect(("127.0.0.1", port))
        self._payload_type = payload_type
        self._sequence = 0

    def send(self, payload: bytes, ticks: int, *, marker: bool) -> None:
        kind = self._payload_type
        header = struct.pack(
            "!BBHII", 0x80, kind | marker << 7, self._sequence, ticks & 0xFFFFFFFF, kind
        )
        self._sequence = (self._sequence + 1) & 0xFFFF
        for each in self._sockets:
            with contextlib.suppress(ConnectionRefusedError):  # not yet there, or gone
                each.send(header + payload)


async def main(media_path: str, *receivers: str) -> None:
    """Send until standard input ends."""
    media = load_media(Path(media_path))
    assert media.video is not None
    assert media.audio is not None
    ports = [each.split(":") for each in receivers]
    clock = SystemClock()
    start = clock.monotonic()
    video = VideoPlayback(media.video, start=start)
    audio = AudioPlayback(media.audio, start=start)
    video_sender = PlainSender([int(each) for each, _ in ports], VIDEO_PAYLOAD_TYPE)
    audio_sender = PlainSender([int(each) for _, each in ports], AUDIO_PAYLOAD_TYPE)

    def beat(now: float) -> None:
        for frame, ticks in video.due(now):
            last = len(frame.payloads) - 1
            for index, payload in enumerate(frame.payloads):
                video_sender.send(payload, ticks, marker=index == last)
        for packet, ticks, _ in audio.due(now):
            audio_sender.send(packet, ticks, marker=False)

    pacer = Pacer(clock)
    pacer.add(beat)
    pacing = asyncio.create_task(pacer.run())
    await asyncio.to_thread(sys.stdin.buffer.read)
    pacing.cancel()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
