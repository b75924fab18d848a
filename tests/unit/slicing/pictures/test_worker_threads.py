"""Threads for long calculations: as few as will do, and behind everything else."""

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from cloudslice.slicing.pictures.worker_threads import WorkerThreads


class Task:
    """Work that says who has begun it, and ends when it is let."""

    def __init__(self, begun: "queue.Queue[tuple[Task, int]]") -> None:
        self.begun = begun
        self.may_end = threading.Event()
        self.niceness = 0

    def __call__(self, thread: int) -> None:
        self.niceness = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.begun.put((self, thread))
        assert self.may_end.wait(5)


class Stage:
    """Threads with tasks that wait for each other."""

    def __init__(self, threads: WorkerThreads) -> None:
        self.threads = threads
        self.begun: queue.Queue[tuple[Task, int]] = queue.Queue()
        self.tasks: list[Task] = []

    def submit(self, count: int = 1) -> None:
        for _ in range(count):
            self.tasks.append(Task(self.begun))
            self.threads.submit(self.tasks[-1])

    def next_begun(self) -> tuple[int, int]:
        """The number of the next task that is begun, and its thread's."""
        task, thread = self.begun.get(timeout=5)
        return self.tasks.index(task), thread


@contextmanager
def staged(count: int) -> Iterator[Stage]:
    threads = WorkerThreads(count, "test")
    stage = Stage(threads)
    yield stage
    for each in stage.tasks:
        each.may_end.set()
    threads.close()


def test_one_thread_does_what_it_can_in_order() -> None:
    """The others leave it alone while little waits."""
    with staged(3) as stage:
        stage.submit()
        for number in range(9):
            assert stage.next_begun() == (number, 0)
            if number == 0:
                stage.submit(8)
            assert stage.begun.empty()
            stage.tasks[number].may_end.set()


def test_others_help_while_more_wait_than_one_can_do() -> None:
    """The second when nine do, the third when seventeen do, each as long as it is so."""
    with staged(3) as stage:
        stage.submit()
        assert stage.next_begun() == (0, 0)
        stage.submit(9)
        assert stage.next_begun() == (1, 1)
        stage.submit(8)
        assert stage.begun.empty(), "sixteen wait"
        stage.submit()
        assert stage.next_begun() == (2, 2)
        stage.tasks[2].may_end.set()
        stage.tasks[1].may_end.set()
        for number in range(3, 11):
            assert stage.next_begun() == (number, 1)
            stage.tasks[number].may_end.set()
        stage.tasks[0].may_end.set()
        for number in range(11, 19):
            assert stage.next_begun() == (number, 0)
            stage.tasks[number].may_end.set()


def test_everything_else_goes_first() -> None:
    """These threads alone have a lower priority."""
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    with staged(1) as stage:
        stage.submit()
        stage.next_begun()
        assert stage.tasks[0].niceness == min(ours + 5, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == ours


def test_closing_drops_what_waits_and_ends_the_threads() -> None:
    """What is being done is done."""
    threads = WorkerThreads(2, "test")
    stage = Stage(threads)
    stage.submit(3)
    assert stage.next_begun() == (0, 0)
    threading.Timer(0.05, stage.tasks[0].may_end.set).start()
    threads.close()
    assert stage.begun.empty()
    assert not any(each.is_alive() for each in threads._threads)
