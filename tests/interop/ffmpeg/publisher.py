"""Publishes media files by FFmpeg's WHIP muxer: see tests/helpers/publisher_programs.py.

With the option --own-certificate FFmpeg makes its certificate itself. Built with GnuTLS, as PyAV's
is, it makes one of the curve P-224, which OpenSSL from 4.0 on refuses.
"""

import contextlib
import datetime
import json
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_AUDIO_RATE, _FPS = 50, 30
_TIME_BASES = {"audio": Fraction(1, 48_000), "video": Fraction(1, 90_000)}


class Publication:
    """Opus and H.264 on their way. The muxer says goodbye when the container is closed."""

    def __init__(self, container: OutputContainer, video_file: str) -> None:
        self._container = container
        self._streams: dict[str, Any] = {
            # Nothing is encoded: a stream without an encoder has no channels here.
            "audio": container.add_stream("libopus", rate=48_000, layout="stereo")
        }
        with av.open(video_file, "r", format="ivf") as source:
            self._streams["video"] = container.add_stream_from_template(source.streams.video[0])
        container.start_encoding()

    def send(self, order: dict[str, Any]) -> dict[str, Any]:
        """Both files in a loop, in real time."""
        sound, pictures = (cycle(_read_ivf(Path(order[each]))) for each in ("audio", "video"))
        start = time.monotonic()
        packets = frames = 0
        while True:
            audio_due, video_due = packets / _AUDIO_RATE, frames / _FPS
            due = min(audio_due, video_due)
            if due >= order["seconds"]:
                break
            time.sleep(max(0.0, start + due - time.monotonic()))
            if audio_due <= video_due:
                self._mux("audio", next(sound), packets * 960)
                packets += 1
            else:
                self._mux("video", next(pictures), frames * 3000)
                frames += 1
        return {
            "audio_packets": packets,
            "video_frames": frames,
            "keyframe_requests": 0,
            "stopped_ms": int(time.time() * 1000),
            "delete_status": None,
        }

    def _mux(self, kind: str, data: bytes, time_stamp: int) -> None:
        packet = av.Packet(data)
        packet.stream = self._streams[kind]
        packet.pts = packet.dts = time_stamp
        packet.time_base = _TIME_BASES[kind]
        self._container.mux(packet)


def _read_ivf(path: Path) -> list[bytes]:
    data = path.read_bytes()
    (at,) = struct.unpack_from("<H", data, 6)
    frames = []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        frames.append(data[at + 12 : at + 12 + size])
        at += 12 + size
    return frames


@contextlib.contextmanager
def _certificate() -> Iterator[dict[str, str]]:
    """The muxer's options for a certificate of the curve P-256, as RFC 8827, 6.5 wants it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    with tempfile.TemporaryDirectory() as directory:
        files = {each: Path(directory) / f"{each}.pem" for each in ("cert_file", "key_file")}
        files["cert_file"].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files["key_file"].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        yield {option: str(path) for option, path in files.items()}


def main() -> None:
    av.logging.set_level(av.logging.WARNING)
    order = json.loads(sys.stdin.readline())
    is_own = "--own-certificate" in sys.argv
    with contextlib.nullcontext({}) if is_own else _certificate() as certificate:
        options = {"authorization": order["bearer"], **certificate}
        with av.open(order["url"], "w", format="whip", options=options) as container:
            done = Publication(container, order["video"]).send(order)
    print(json.dumps(done))


main()
