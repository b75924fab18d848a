"""Real picture processes: they make what is made in this one, and can harm nobody."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from random import Random

import av
import numpy as np
import pytest

from cloudslice.codecs.codec import VideoCodec
from cloudslice.codecs.h264 import H264
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.colors import ColorConverter
from cloudslice.slicing.pictures.picture import (
    DeadlyKeyframeError,
    Picture,
    PictureError,
    PictureLostError,
    UndecodableKeyframeError,
)
from cloudslice.slicing.pictures.picture_files import encode_picture
from cloudslice.slicing.pictures.pool import PicturePool
from cloudslice.slicing.pictures.worker_process import TimeLimits
from cloudslice.slicing.pictures.worker_start import start_worker
from helpers.keyframes import color_bars, decode_picture, encode_keyframe
from helpers.video_codecs import each_codec
from helpers.waiting import eventually

PNG, JPG = ImageFormat.PNG, ImageFormat.JPG
SRC = Path(__file__).parents[3] / "src"


async def make(
    pool: PicturePool, keyframe: Keyframe, image_format: ImageFormat = PNG
) -> Picture | PictureError:
    made: asyncio.Future[Picture | PictureError] = asyncio.get_running_loop().create_future()
    assert pool.encode(keyframe, image_format, made.set_result)
    return await asyncio.wait_for(made, 60)


def bars(codec: VideoCodec = H264, shade: int = 0, **encoding: int) -> Keyframe:
    """A key frame; another one for each shade."""
    return encode_keyframe(codec, color_bars(96, 64) // (shade + 1), **encoding)  # type: ignore[arg-type]


@pytest.fixture
async def pool() -> AsyncIterator[PicturePool]:
    """One process, which is ready. It has time, as other tests may have the processors."""
    with PicturePool(1, limits=TimeLimits(job=50)) as pool:
        assert isinstance(await make(pool, bars()), Picture)
        yield pool


# What it makes


@pytest.mark.parametrize("image_format", list(ImageFormat))
@each_codec
async def test_a_picture_is_what_it_would_be_if_it_were_made_in_this_process(
    pool: PicturePool, codec: VideoCodec, image_format: ImageFormat
) -> None:
    for keyframe in (
        encode_keyframe(codec, color_bars(1280, 720), rotation=90),
        encode_keyframe(codec, color_bars(96, 64)),
        encode_keyframe(codec, color_bars(3840, 2160)),
    ):
        picture = await make(pool, keyframe, image_format)
        expected = encode_picture(keyframe, image_format, ColorConverter())
        assert picture == expected, difference(picture, expected, keyframe, image_format)
    assert pool.counters.started == 1


def difference(
    made: Picture | PictureError, expected: Picture, keyframe: Keyframe, image_format: ImageFormat
) -> str:
    """What tells next time why two pictures of one key frame are not the same: which of both is
    made again, and where their pixels differ."""
    if isinstance(made, PictureError):
        return repr(made)
    again = encode_picture(keyframe, image_format, ColorConverter())
    found = [
        f"{len(made.data)} bytes in its process, {len(expected.data)} here; made here again it is "
        f"{'' if again == made else 'not '}the former, {'' if again == expected else 'not '}the "
        "latter"
    ]
    pixels = [decode_picture(each.data).astype(int) for each in (made, expected)]
    if pixels[0].shape != pixels[1].shape:
        return f"{found}, {[each.shape for each in pixels]}"
    differing = np.abs(pixels[0] - pixels[1])
    rows, columns, channels = differing.nonzero()
    found.append(f"{len(rows)} samples differ, by {differing.max()} at most")
    if len(rows):
        spans = [f"{each.min()} to {each.max()}" for each in (rows, columns, channels)]
        found.append(f"rows {spans[0]}, columns {spans[1]}, channels {spans[2]}")
        places = list(zip(rows[:8].tolist(), columns[:8].tolist(), strict=True))
        values = [[each[place].tolist() for each in pixels] for place in places]
        found.append(f"at first {places}: {values}")
    return "; ".join(found)


def test_a_difference_of_pictures_is_told() -> None:
    expected = encode_picture(bars(), PNG, ColorConverter())
    other = encode_picture(bars(shade=1), PNG, ColorConverter())
    text = difference(other, expected, bars(), PNG)
    assert "not the former, the latter" in text
    assert "samples differ, by" in text
    assert "rows 0 to 63, columns" in text
    same = difference(expected, expected, bars(), PNG)
    assert same.endswith("the former, the latter; 0 samples differ, by 0 at most")


async def test_a_damaged_key_frame_is_reported_as_such(pool: PicturePool) -> None:
    error = await make(pool, Keyframe(H264.decoding, b"junk", 0.0, 0))
    assert isinstance(error, UndecodableKeyframeError)
    assert "h264" in str(error)


async def test_many_pictures_come_to_their_receivers_in_any_number_of_processes() -> None:
    """Also large ones, of which each is more than a socket holds."""
    frames = [bars(shade=shade) for shade in range(5)]
    frames.append(encode_keyframe(H264, color_bars(1920, 1080)))
    expected = {each: encode_picture(each, PNG, ColorConverter()) for each in frames}
    with PicturePool(2) as pool:
        for _ in range(10):
            made = await asyncio.gather(*(make(pool, each) for each in frames * 5))
            assert made == [expected[each] for each in frames * 5]
        assert len(pool.process_ids) <= 2


@pytest.mark.parametrize("image_format", list(ImageFormat))
async def test_8k_fits_into_its_memory(pool: PicturePool, image_format: ImageFormat) -> None:
    picture = await make(pool, grey_8k(), image_format)
    assert isinstance(picture, Picture)
    assert (picture.width, picture.height) == (4320, 7680)


@cache
def grey_8k() -> Keyframe:
    frame = av.VideoFrame(7680, 4320, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuv420p"
    encoder.time_base = frame.time_base = Fraction(1)
    encoder.thread_count = 1
    encoder.options = {"preset": "ultrafast", "x264-params": "annexb=1:repeat-headers=1"}
    data = b"".join(map(bytes, [*encoder.encode(frame), *encoder.encode(None)]))
    return Keyframe(H264.decoding, data, 0.0, 90)


# What strangers can do


@each_codec
async def test_no_key_frame_takes_more_than_its_process(
    pool: PicturePool, codec: VideoCodec
) -> None:
    """Thousands of damaged ones, always the same; each has its answer, and then a good one too."""
    random = Random(20)
    good = encode_keyframe(codec, color_bars(96, 64), slices=2)
    waiting: set[asyncio.Task[Picture | PictureError]] = set()
    for number in range(2000):
        data = bytearray(good.data)
        for _ in range(random.randint(1, 8)):
            data[random.randrange(len(data))] = random.randrange(256)
        if random.random() < 0.2:
            del data[random.randrange(len(data)) :]
        keyframe = Keyframe(codec.decoding, bytes(data), 0.0, 0)
        waiting.add(asyncio.ensure_future(make(pool, keyframe, PNG if number % 2 else JPG)))
        if len(waiting) == 60:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*waiting)
    last = bars(codec, shade=1)
    assert await make(pool, last) == encode_picture(last, PNG, ColorConverter())


async def test_a_process_that_is_killed_costs_its_picture(pool: PicturePool) -> None:
    [process_id] = pool.process_ids
    os.kill(process_id, signal.SIGSTOP)
    lost, next_one = (
        asyncio.ensure_future(make(pool, each)) for each in (bars(shade=1), bars(shade=2))
    )
    await asyncio.sleep(0)
    os.kill(process_id, signal.SIGKILL)
    error = await lost
    assert isinstance(error, DeadlyKeyframeError)
    assert "SIGKILL" in str(error)
    assert isinstance(await next_one, Picture)
    assert isinstance(await make(pool, bars(shade=1)), DeadlyKeyframeError)
    assert pool.process_ids != [process_id]
    assert (pool.counters.started, pool.counters.died) == (2, 1)


async def test_a_process_that_hangs_is_ended_and_costs_its_picture() -> None:
    with PicturePool(1, limits=TimeLimits(job=0.5)) as pool:
        await make(pool, bars())
        [process_id] = pool.process_ids
        os.kill(process_id, signal.SIGSTOP)
        lost, next_one = (
            asyncio.ensure_future(make(pool, each)) for each in (bars(shade=1), bars(shade=2))
        )
        assert "longer than 0.5 s" in str(await lost)
        assert isinstance(await next_one, Picture)
        assert pool.counters.stuck == 1


async def test_leaving_does_not_wait_for_a_process_that_hangs(pool: PicturePool) -> None:
    [process_id] = pool.process_ids
    os.kill(process_id, signal.SIGSTOP)
    assert pool.encode(bars(shade=1), PNG, lambda _: None)
    pool.__exit__(None, None, None)
    assert not is_alive(process_id)


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        pytest.param(b"", "exit status 0", id="nothing, and ends"),
        pytest.param(b"\xff" * 5000, "outcome 255", id="noise"),
        pytest.param(bytes([0] * 4 + [1, 0, 9, 0, 9, 0, 0, 0, 1]) + b"x", "before", id="a picture"),
    ],
)
async def test_a_program_that_is_no_worker_is_not_believed(says: bytes, cause: str) -> None:
    code = f"import os; os.write(0, {says!r}); {'os.read(0, 1)' if says else ''}"
    with PicturePool(1, command=[sys.executable, "-I", "-S", "-c", code]) as pool:
        error = await make(pool, bars())
    assert isinstance(error, PictureLostError)
    assert cause in str(error)


@pytest.mark.parametrize(
    ("says", "cause"),
    [
        pytest.param(bytes([0, 0, 0, 9, 2, 0, 0, 0, 0, 0, 0, 0, 0]), "out of turn", id="a number"),
        pytest.param(bytes(13), "out of turn", id="that it is ready, again"),
        pytest.param(
            bytes([0] * 4 + [1, 0, 9, 0, 9, 0, 0, 0, 8]) + b"<script>", "no png", id="another file"
        ),
        pytest.param(bytes([0] * 4 + [1, 0, 9, 0, 9, 9, 9, 9, 9]), "bytes for", id="a length"),
    ],
)
async def test_a_worker_that_is_taken_over_is_not_believed(says: bytes, cause: str) -> None:
    code = f"import os; os.write(0, bytes(13)); os.read(0, 1); os.write(0, {says!r}); os.read(0, 1)"
    with PicturePool(1, command=[sys.executable, "-I", "-S", "-c", code]) as pool:
        error = await make(pool, bars())
        assert pool.counters.died == 1
    assert isinstance(error, DeadlyKeyframeError)
    assert cause in str(error)


# What a process has


def test_a_worker_is_started_with_nothing_of_this_process() -> None:
    os.environ["A_SECRET"] = "secret"
    code = (
        "import json, os; os.write(0, json.dumps([dict(os.environ), os.listdir('/proc/self/fd'), "
        "os.getcwd(), os.getsid(0) == os.getpid()]).encode())"
    )
    ours, theirs = socket.socketpair()
    with ours, theirs, open(__file__, "rb") as file, socket.socket() as other:
        for each in (file, other):
            os.set_inheritable(each.fileno(), True)
        process = start_worker([sys.executable, "-I", "-S", "-c", code], theirs)
        theirs.close()
        environment, descriptors, folder, leads = json.loads(ours.recv(10_000))
        assert process.wait(10) == 0
    del os.environ["A_SECRET"]
    assert set(environment) <= {"OPENBLAS_NUM_THREADS", "LD_LIBRARY_PATH", "LC_CTYPE"}
    assert sorted(descriptors) == ["0", "1", "2", "3"], "3 is the folder that it lists"
    assert (folder, leads) == ("/", True)


async def test_everything_else_goes_first_and_is_kept_first(pool: PicturePool) -> None:
    """By the processor, and by the kernel when memory is short."""
    [process_id] = pool.process_ids
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, process_id) == min(ours + 5, 19)
    proc = Path("/proc", str(process_id))
    assert await asyncio.to_thread((proc / "oom_score_adj").read_text) == "1000\n"
    assert await asyncio.to_thread((proc / "comm").read_text) == "cloudslice-pics\n"


async def test_a_stop_of_the_service_is_the_servers_business(pool: PicturePool) -> None:
    """A service manager signals all processes, a terminal its whole group."""
    [process_id] = pool.process_ids
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(process_id, each)
    assert isinstance(await make(pool, bars(shade=1)), Picture)
    assert pool.process_ids == [process_id]


def test_a_worker_ends_with_the_server_even_if_it_hangs() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(SRC)},
    )
    with server:
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        os.kill(worker, signal.SIGSTOP)
        server.kill()
    asyncio.run(eventually(lambda: not is_alive(worker)))


_SERVER = """
import asyncio, sys, time
from cloudslice.codecs.vp8 import VP8
from cloudslice.media.tracks import Keyframe
from cloudslice.slicing.params import ImageFormat
from cloudslice.slicing.pictures.pool import PicturePool
async def main():
    with PicturePool(1) as pool:
        done = asyncio.get_running_loop().create_future()
        pool.encode(Keyframe(VP8.decoding, b"junk", 0.0, 0), ImageFormat.PNG, done.set_result)
        await done
        print(*pool.process_ids, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def is_alive(process_id: int) -> bool:
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


# What the sandbox leaves

_FORBIDDEN = {
    "open a file": "os.open('/etc/passwd', os.O_RDONLY)",
    "make a file": "os.open('/tmp/x', os.O_CREAT | os.O_WRONLY)",
    "look for a file": "os.stat('/')",
    "open a socket": "socket.socket()",
    "make a pair of sockets": "socket.socketpair()",
    "connect": "socket.socket(fileno=0).connect('/tmp/x')",
    "pass a descriptor": "socket.socket(fileno=0).sendmsg([b'x'])",
    "run a program": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "start a thread": "_thread.start_new_thread(print, ())",
    "kill the server": "os.kill(os.getppid(), 9)",
    "kill itself by another call": "os.kill(os.getpid(), 9)",
    "have executable memory": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "make memory executable": "libc.mprotect(ctypes.c_void_p(page), 4096, 5)",
    "trace a process": "libc.ptrace(0, 0, 0, 0)",
    "read another process's memory": "libc.process_vm_readv(os.getppid(), None, 0, None, 0, 0)",
    "raise a limit": "resource.setrlimit(resource.RLIMIT_NOFILE, (1, 1))",
    "have more privileges": "os.setuid(0)",
    "import a module": "import wave",
}


@contextmanager
def confined(action: str, before: str = "") -> Iterator[tuple[bytes, "subprocess.Popen[bytes]"]]:
    """A process that confines itself, says so, does something and says if it survives."""
    code = f"""
import sys
sys.path[:] = {sys.path!r}
import _thread, ctypes, mmap, os, platform, resource, socket, time
from cloudslice.slicing.pictures.sandbox import confine
libc = ctypes.CDLL(None)
page = ctypes.addressof(ctypes.create_string_buffer(8192)) // 4096 * 4096 + 4096
{before}
missing = confine()
os.write(0, missing.encode() + b"|")
{action}
os.write(0, b"survived")
os._exit(0)
"""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = start_worker([sys.executable, "-I", "-S", "-c", code], theirs)
        process.wait(20)
        said = b""
        while part := ours.recv(1000):
            said += part
        yield said, process


@pytest.mark.parametrize("what", _FORBIDDEN)
def test_a_worker_can_not(what: str) -> None:
    with confined(_FORBIDDEN[what]) as (said, process):
        if said.startswith(b"seccomp"):
            pytest.skip(f"this machine has no such sandbox: {said!r}")
        assert said == b"|"
        assert process.returncode == -signal.SIGSYS


@pytest.mark.parametrize(
    ("action", "status"),
    [
        pytest.param("bytearray(300 << 20)", 0, id="have memory"),
        pytest.param(
            "time.sleep(0.01); time.time(); os.urandom(4)", 0, id="wait, and know the time"
        ),
        pytest.param("os.abort()", -signal.SIGABRT, id="abort itself"),
        pytest.param("ctypes.string_at(0)", -signal.SIGSEGV, id="crash"),
    ],
)
def test_a_worker_can(action: str, status: int) -> None:
    with confined(action) as (said, process):
        assert process.returncode == status
        assert said.endswith(b"|survived" if status == 0 else b"|")


def test_memory_has_a_limit() -> None:
    action = """
try:
    bytearray(2 << 30)
except MemoryError:
    os.write(0, b"no memory, ")
"""
    with confined(action) as (said, _process):
        assert said == b"|no memory, survived"


def test_without_seccomp_the_limits_hold() -> None:
    """Where the kernel has none, or what contains the server forbids it."""
    action = """
for each in (lambda: os.open("/etc/passwd", os.O_RDONLY), socket.socket, os.pipe):
    try:
        each()
    except OSError as error:
        os.write(0, str(error.errno).encode() + b" ")
"""
    with confined(action, before="platform.machine = lambda: 'riscv64'") as (said, process):
        assert said == b"seccomp: no list of system calls for riscv64|24 24 24 survived"
        assert process.returncode == 0


# What the server's process has


def test_the_server_holds_no_decoder() -> None:
    """Strangers' video is decoded in other processes; nothing that could do it is loaded here."""
    code = """
import sys
from cloudslice.cli.main import main
main(["serve", "--help"], standalone_mode=False)
import cloudslice.node
print(*{each.partition(".")[0] for each in sys.modules} & {"av", "numpy", "simplejpeg", "isal"})
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == ""
