"""New lists cut a stream at the call, to the packet, over real rooms, tasks and files."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudslice.clock import SystemClock
from cloudslice.config import Settings
from cloudslice.identity.user_sig import make_user_sig
from cloudslice.ids import RoomIdType, RoomKey, TrackKind
from cloudslice.rooms.builtin.rooms import BuiltinRooms
from cloudslice.slices import Bucket, Vendor
from cloudslice.slicing.params import SliceParams, SubscriptionLists
from cloudslice.tasks.model import TaskSpec
from cloudslice.tasks.service import Tasks
from cloudslice.tasks.sqlite_store import SqliteTaskStore
from cloudslice.tasks.store import StoreError
from cloudslice.tasks.worker import Worker
from cloudslice.webrtc.remote_description import parse_remote_description
from cloudslice.webrtc.udp.port import UdpPort
from helpers.media_port import media_port
from helpers.ogg_pages import read_opus_file
from helpers.peer import Peer
from helpers.room_observer import make_bus
from helpers.task_stage import open_tasks
from helpers.udp_peer import UdpPeer
from helpers.waiting import eventually

APP, KEY, ROBOT = 1400000001, "k" * 64, "robot_1"
ROOM = RoomKey(APP, "150", RoomIdType.NUMBER)
AUDIO = TrackKind.AUDIO
BLOCKED = SubscriptionLists(audio_block=("ann",))
EVERYBODY = SubscriptionLists()
_MARK = b"\xfcan"
"""Of the packets that were sent, which are 5 bytes long: one frame of 20 ms (RFC 6716, 3.1)."""


@dataclass
class Stage:
    """An anchor that sends numbered packets, and the files that a task makes of them."""

    tasks: Tasks
    worker: Worker
    rooms: BuiltinRooms
    port: UdpPort
    directory: Path
    udp: UdpPeer | None = None

    def join(self) -> None:
        peer = Peer((AUDIO,))
        _publication, answer = self.rooms.publish(ROOM, "ann", parse_remote_description(peer.offer))
        self.udp = UdpPeer(self.port, peer, answer, host="127.0.0.1")
        self.udp.connect()

    def send(self, *numbers: int) -> None:
        """Nobody reads them before the next await."""
        assert self.udp is not None
        for number in numbers:
            payload = _MARK + number.to_bytes(2)
            self.udp.socket.send(self.udp.peer.rtp(AUDIO, number, 960 * number, payload))

    async def talk(self, first: int, count: int) -> None:
        """Send packets as they would be spoken."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(first, first + count):
            await asyncio.sleep(start + (number - first) * 0.02 - loop.time())
            self.send(number)

    async def create(self, audio_slice_s: int = 15) -> str:
        clock = SystemClock()
        spec = TaskSpec(
            room=ROOM,
            robot_user_id=ROBOT,
            user_sig=make_user_sig(KEY, APP, ROBOT, now_s=clock.utc_ms() / 1000, lifetime_s=600),
            private_map_key=None,
            slicing=SliceParams(audio=True, video=False, audio_slice_s=audio_slice_s),
            lists=EVERYBODY,
            bucket=Bucket(Vendor.COS, "ap-guangzhou", "demo-1250000000", "a", "s"),
        )
        task_id = await self.tasks.create(spec)
        await eventually(lambda: ROBOT in self.rooms._rooms[ROOM].robots)
        return task_id

    def lists(self, task_id: str) -> SubscriptionLists:
        """What its robot goes by."""
        task = self.worker.find(task_id)
        assert task is not None
        return task.robot.lists

    async def recorded(self, task_id: str) -> list[int]:
        """The numbers of the packets in all files, once the task has ended.

        Files are in the order of what is in them: of packets that come all at once, those of a
        later file may be told to have begun a moment before those of an earlier one.
        """
        files = [read_opus_file(each.read_bytes()).packets for each in await self.files(task_id)]
        numbers = [
            [int.from_bytes(each[3:]) for each in packets if each.startswith(_MARK)]
            for packets in files
        ]
        return [number for each in sorted(numbers) for number in each]

    async def files(self, task_id: str) -> list[Path]:
        """All files, once the task has ended."""
        await eventually(lambda: self.worker.find(task_id) is None)
        await eventually(lambda: not list(self.directory.glob("spool/*")))
        return sorted(self.directory.glob("buckets/**/*.ogg"))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    settings = Settings.model_validate(
        {
            "data_dir": tmp_path,
            "apps": [{"sdk_app_id": APP, "secret_key": KEY}],
            "storage": {"endpoints": {"cos": (tmp_path / "buckets").as_uri()}},
        }
    )
    clock = SystemClock()
    with media_port(clock, "127.0.0.1") as (port, tick):
        rooms = BuiltinRooms(port, settings.rtc, clock, tick, make_bus())
        async with open_tasks(settings, rooms, clock, {}, tick) as parts:  # type: ignore[arg-type]
            stage = Stage(parts.tasks, parts.worker, rooms, port, tmp_path)
            yield stage
            if stage.udp is not None:
                stage.udp.close()


async def test_what_is_blocked_is_cut_out_to_the_packet(stage: Stage) -> None:
    """Read or not when the call comes; one that waits for a missing one counts as it arrived."""
    stage.join()
    task_id = await stage.create()
    stage.send(*range(10), 11)
    await stage.tasks.modify(APP, task_id, BLOCKED)
    stage.send(*range(12, 30), 31)
    await stage.tasks.modify(APP, task_id, EVERYBODY)
    stage.send(*range(32, 50))
    await stage.tasks.delete(APP, task_id)
    assert await stage.recorded(task_id) == [*range(10), 11, *range(32, 50)]


async def test_the_cut_is_at_the_call_however_long_the_disk_takes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.join()
    task_id = await stage.create()
    may_write = asyncio.Event()
    modify = SqliteTaskStore.modify

    async def slow(*given: Any, **named: Any) -> None:
        await may_write.wait()
        await modify(*given, **named)

    monkeypatch.setattr(SqliteTaskStore, "modify", slow)
    stage.send(*range(10))
    async with asyncio.TaskGroup() as group:
        group.create_task(stage.tasks.modify(APP, task_id, BLOCKED))
        await asyncio.sleep(0)
        stage.send(*range(10, 20))
        before = stage.port.datagrams
        await eventually(lambda: stage.port.datagrams >= before + 10)
        may_write.set()
    await stage.tasks.delete(APP, task_id)
    assert await stage.recorded(task_id) == [*range(10)]


async def test_a_call_that_fails_changes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless a later one has set other lists."""
    stage.join()
    task_id = await stage.create()
    modify = SqliteTaskStore.modify

    async def fail_for_some(*given: Any, lists: SubscriptionLists, **named: Any) -> None:
        await asyncio.sleep(0)
        if lists is BLOCKED:
            raise StoreError("the disk is full")
        await modify(*given, lists=lists, **named)

    monkeypatch.setattr(SqliteTaskStore, "modify", fail_for_some)
    with pytest.raises(StoreError):
        await stage.tasks.modify(APP, task_id, BLOCKED)
    assert stage.lists(task_id) is not BLOCKED
    failing = asyncio.create_task(stage.tasks.modify(APP, task_id, BLOCKED))
    await asyncio.sleep(0)
    lists = SubscriptionLists(audio_allow=("ann",))
    await stage.tasks.modify(APP, task_id, lists)
    with pytest.raises(StoreError):
        await failing
    assert stage.lists(task_id) is lists
    stage.send(*range(10))
    await stage.tasks.delete(APP, task_id)
    assert await stage.recorded(task_id) == [*range(10)]


async def test_a_robot_hears_nothing_from_before_it_came(stage: Stage) -> None:
    """Though it was not read yet."""
    stage.join()
    stage.send(*range(10), 11)
    task_id = await stage.create()
    stage.send(*range(12, 20))
    await stage.tasks.delete(APP, task_id)
    assert await stage.recorded(task_id) == [*range(12, 20)]


async def test_a_robot_that_is_put_out_has_heard_all_until_then(stage: Stage) -> None:
    stage.join()
    task_id = await stage.create()
    stage.send(*range(10), 11)
    await stage.rooms.remove_users(ROOM, [ROBOT])
    assert await stage.recorded(task_id) == [*range(10), 11]


async def test_an_audio_slice_under_way_ends_at_its_old_length(stage: Stage) -> None:
    """Those that follow have the new one, and what was said is in them without a hole."""
    stage.join()
    task_id = await stage.create(audio_slice_s=1)
    await stage.talk(0, 25)
    await stage.tasks.modify(APP, task_id, None, {"audio_slice_s": 2})
    await stage.talk(25, 150)
    await stage.tasks.delete(APP, task_id)
    files = [read_opus_file(each.read_bytes()) for each in await stage.files(task_id)]
    assert [each.samples / 48_000 for each in files] == [1, 2, 0.5]
    assert sorted(set(await stage.recorded(task_id))) == list(range(175))


async def test_parameters_of_a_call_that_fails_do_not_stay(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.join()
    task_id = await stage.create(audio_slice_s=1)

    async def fail(*_given: Any, **_named: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(SqliteTaskStore, "modify", fail)
    with pytest.raises(StoreError):
        await stage.tasks.modify(APP, task_id, BLOCKED, {"audio_slice_s": 2})
    task = stage.worker.find(task_id)
    assert task is not None
    assert (task.robot.lists, task.robot.params.audio_slice_s) == (EVERYBODY, 1)
    await stage.talk(0, 75)
    await stage.tasks.delete(APP, task_id)
    files = [read_opus_file(each.read_bytes()) for each in await stage.files(task_id)]
    assert [each.samples / 48_000 for each in files] == [1, 0.5]
