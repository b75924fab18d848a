"""What a signed call costs: DescribeCloudSliceTask against a running `cloudslice serve`.

The load comes from this process, over connections that are kept alive: first paced, to see how long
answers take (counted from when a call was due, so that a server that falls behind cannot hide it),
then as fast as the server answers, to see what a call costs it in CPU. Requests are signed once a
second, which is how long a signature stays the same. Beside it: what verifying one signature costs.

    python bench/gateway.py [--rate 1000] [--seconds 10] [--connections 32] [--json FILE]
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlencode

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import uvloop

from cloudslice.api.authentication import Authenticator
from cloudslice.api.calls import Call, decode_call
from cloudslice.api.http_exchange import Head, HttpRequest
from cloudslice.config import ApiSettings, CredentialSettings
from helpers.node import APP_ID, SECRET_ID, SECRET_KEY, Node, Sdk, create_parameters
from helpers.signing import KeyPair, flatten, tc3_headers, v1_fields

ACTION = "DescribeCloudSliceTask"
KEYS = KeyPair(SECRET_ID, SECRET_KEY)
WARM_UP_S = 2.0
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STORAGE = {
    "Vendor": 0,
    "Region": "ap-guangzhou",
    "Bucket": "demo-1250000000",
    "AccessKey": "a",
    "SecretKey": "s",
}


@dataclass(frozen=True)
class Figures:
    """One run of load: `latencies_ms` from when a call was due to the end of its answer."""

    calls_per_s: float
    server_cpu: float
    """Cores that the server took."""
    calls_per_core_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float


class Requests:
    """The bytes of a signed call; signed anew when its timestamp is another one."""

    def __init__(self, port: int, task_id: str) -> None:
        self._host = f"127.0.0.1:{port}"
        self._body = json.dumps({"SdkAppId": APP_ID, "TaskId": task_id}).encode()
        self._signed_at = 0
        self._bytes = b""

    def now(self) -> bytes:
        timestamp = int(time.time())
        if timestamp != self._signed_at:
            headers = tc3_headers(
                KEYS, ACTION, timestamp=timestamp, host=self._host, body=self._body
            )
            headers["Content-Length"] = str(len(self._body))
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self._bytes = f"POST / HTTP/1.1\r\n{lines}\r\n".encode() + self._body
            self._signed_at = timestamp
        return self._bytes


class Connection(asyncio.Protocol):
    """One connection with one call under way at a time."""

    def __init__(self, on_answer: Callable[["Connection"], None]) -> None:
        self._on_answer = on_answer
        self._transport: asyncio.Transport
        self._received = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        assert b'"Status":' in body, body
        self._received = b""
        self._on_answer(self)

    def close(self) -> None:
        self._transport.close()


class Load:
    """Calls over a number of connections; a call that is due when all are busy waits."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._free: deque[Connection] = deque()
        self._waiting: deque[float] = deque()
        self.latencies_s: list[float] = []
        self.is_endless = False

    async def connect(self, port: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            _, connection = await loop.create_connection(
                lambda: Connection(self._answered), "127.0.0.1", port
            )
            self._free.append(connection)

    def call(self, due: float) -> None:
        if self._free:
            self._free.popleft().send(self._requests.now(), due)
        else:
            self._waiting.append(due)

    def _answered(self, connection: Connection) -> None:
        now = time.perf_counter()
        self.latencies_s.append(now - connection.due)
        if self._waiting:
            connection.send(self._requests.now(), self._waiting.popleft())
        elif self.is_endless:
            connection.send(self._requests.now(), now)
        else:
            self._free.append(connection)

    async def pace(self, rate: float, seconds: float) -> None:
        """Make calls due at even distances."""
        started, made = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started) < seconds:
            for number in range(made, int(elapsed * rate)):
                self.call(started + number / rate)
            made = int(elapsed * rate)
            await asyncio.sleep(0.0005)

    async def drain(self, count: int) -> None:
        """Wait until all of `count` connections are free."""
        while len(self._free) < count:  # noqa: ASYNC110 - a few milliseconds, once
            await asyncio.sleep(0.001)

    def close(self) -> None:
        for connection in self._free:
            connection.close()


async def run_paced(node: Node, task_id: str, rate: float, options: argparse.Namespace) -> Figures:
    """Latency and cost at a steady `rate` of calls a second."""
    load = Load(Requests(node.http_port, task_id))
    await load.connect(node.http_port, options.connections)
    await load.pace(rate, WARM_UP_S)
    load.latencies_s.clear()
    return await _measure(node, load, options, load.pace(rate, options.seconds))


async def run_flat_out(node: Node, task_id: str, options: argparse.Namespace) -> Figures:
    """Every connection sends its next call when it has its answer."""
    load = Load(Requests(node.http_port, task_id))
    await load.connect(node.http_port, options.connections)
    load.is_endless = True
    for _ in range(options.connections):
        load.call(time.perf_counter())
    await asyncio.sleep(WARM_UP_S)
    load.latencies_s.clear()
    return await _measure(node, load, options, asyncio.sleep(options.seconds))


async def _measure(
    node: Node, load: Load, options: argparse.Namespace, work: Coroutine[object, object, None]
) -> Figures:
    started, cpu = time.perf_counter(), _cpu_s(node.pid)
    await work
    elapsed, cpu = time.perf_counter() - started, _cpu_s(node.pid) - cpu
    latencies_ms = [each * 1000 for each in load.latencies_s]
    load.is_endless = False
    await load.drain(options.connections)
    load.close()
    percentiles = statistics.quantiles(latencies_ms, n=100)
    return Figures(
        calls_per_s=len(latencies_ms) / elapsed,
        server_cpu=cpu / elapsed,
        calls_per_core_s=len(latencies_ms) / cpu,
        p50_ms=percentiles[49],
        p99_ms=percentiles[98],
        max_ms=max(latencies_ms),
    )


def _cpu_s(pid: int) -> float:
    """User and system time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def verification_us() -> dict[str, float]:
    """Microseconds of decoding a call and verifying its signature, by the way of signing."""
    now = int(time.time())
    host = "127.0.0.1:8080"
    parameters = {"SdkAppId": APP_ID, "TaskId": "x" * 76}
    body = json.dumps(parameters).encode()
    tc3 = {
        name.lower(): value
        for name, value in tc3_headers(KEYS, ACTION, timestamp=now, host=host, body=body).items()
    }
    fields = v1_fields(KEYS, ACTION, flatten(parameters), timestamp=now, host=host, method="POST")
    v1 = {"host": host, "content-type": "application/x-www-form-urlencoded"}
    requests = {
        "TC3-HMAC-SHA256": HttpRequest(Head("POST", b"", tc3, 500), body),
        "HmacSHA256": HttpRequest(Head("POST", b"", v1, 500), urlencode(fields).encode()),
    }
    credential = CredentialSettings.model_validate(
        {"secret_id": SECRET_ID, "secret_key": SECRET_KEY, "sdk_app_ids": [APP_ID]}
    )
    authenticator = Authenticator([credential], ApiSettings())

    def verify(call: Call) -> object:
        return authenticator.authenticate(call, call.read_common(), now)

    calls = {name: decode_call(request) for name, request in requests.items()}
    return {name: _best_us(lambda call=call: verify(call)) for name, call in calls.items()}


def _best_us(work: Callable[[], object]) -> float:
    """The least of several runs: what else the machine does only adds."""

    def run() -> float:
        started = time.perf_counter()
        for _ in range(2000):
            work()
        return (time.perf_counter() - started) / 2000 * 1e6

    return min(run() for _ in range(7))


def measure(options: argparse.Namespace, level: str) -> dict[str, Figures]:
    """All runs against one server that logs from `level` up."""
    more = f"""
[apps.limits]
requests_per_second = 1000000
[log]
level = "{level}"
format = "json"
"""
    with (
        tempfile.TemporaryDirectory() as directory,
        Node(Path(directory), "", more_settings=more) as node,
    ):
        node.start()
        parameters = create_parameters("1", "robot", _STORAGE, MaxIdleTime=86400)
        task_id = Sdk(node).create(parameters)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            paced = runner.run(run_paced(node, task_id, options.rate, options))
            flat_out = runner.run(run_flat_out(node, task_id, options))
    return {f"{options.rate:.0f} calls/s": paced, "flat out": flat_out}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rate", type=float, default=1000, help="calls a second")
    parser.add_argument("--seconds", type=float, default=10, help="are measured")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--json", type=Path, metavar="FILE", help="for the figures")
    options = parser.parse_args(arguments)
    verification = verification_us()
    for name, microseconds in verification.items():
        print(f"verifying one {name} signature: {microseconds:.1f} us")
    runs = {level: measure(options, level) for level in ("info", "warning")}
    print("\nlog      load            calls/s   cores   calls/core-s   p50 ms   p99 ms   max ms")
    for level, figures in runs.items():
        for load, each in figures.items():
            print(
                f"{level:8} {load:14}{each.calls_per_s:9.0f}{each.server_cpu:8.2f}"
                f"{each.calls_per_core_s:15.0f}{each.p50_ms:9.2f}{each.p99_ms:9.2f}{each.max_ms:9.2f}"
            )
    if options.json:
        values = {
            "verification_us": verification,
            "runs": {
                level: {load: asdict(each) for load, each in figures.items()}
                for level, figures in runs.items()
            },
        }
        options.json.write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
