"""The runner's own event loop: what its calls rely on."""

from __future__ import annotations

import os
import signal
from collections.abc import Coroutine
from typing import Any

import pytest

from dockwright.sandbox.runner.loop import Cancelled, Future, Loop


@pytest.fixture
def loop() -> Loop:
    return Loop()


def run(loop: Loop, coroutine: Coroutine[Any, Any, object]) -> object:
    task = loop.create_task(coroutine)
    loop.run(until=task)
    return task.result()


def test_a_task_has_the_result_or_the_error_of_its_coroutine(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    async def inner(fails: bool) -> int:
        await loop.sleep(0)
        return 1 // (not fails)

    async def outer(fails: bool) -> int:
        return await loop.create_task(inner(fails)) + 1  # type: ignore[no-any-return]

    assert run(loop, outer(fails=False)) == 2
    with pytest.raises(ZeroDivisionError):
        run(loop, outer(fails=True))
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_who_waits_goes_on_when_it_is_done_or_the_time_is_up(loop: Loop) -> None:
    async def main() -> list[bool]:
        done, never = loop.create_future(), loop.create_future()
        loop.call_later(0.01, done.wake)
        return [await loop.wait(done, 60), await loop.wait(done, 60), await loop.wait(never, 0.01)]

    assert run(loop, main()) == [True, True, False]


@pytest.mark.parametrize("done", [False, True], ids=["waiting", "about to go on"])
def test_a_cancellation_is_raised_once_where_the_task_waits_and_spares_what_it_waits_for(
    loop: Loop, done: bool
) -> None:
    said: list[str] = []

    async def work(first: Future, second: Future) -> str:
        try:
            await first
        except Cancelled:
            said.append("cancelled")
        return str(await second)

    async def main() -> str:
        first, second = loop.create_future(), loop.create_future()
        task = loop.create_task(work(first, second))
        await loop.sleep(0)
        if done:
            first.set_result(None)
        task.cancel()
        await loop.sleep(0.01)
        assert (first.done(), task.done()) == (done, False)
        second.set_result("went on")
        return str(await task)

    assert run(loop, main()) == "went on"
    assert said == ["cancelled"]


def test_a_task_that_is_cancelled_before_it_began_never_does(loop: Loop) -> None:
    said: list[str] = []

    async def work() -> None:
        said.append("began")

    task = loop.create_task(work())
    task.cancel()
    with pytest.raises(Cancelled):
        run(loop, _of(task))
    assert said == []


async def _of(task: Future) -> object:
    return await task


def test_descriptors_are_heard_until_they_are_not_wanted(loop: Loop) -> None:
    read, write = os.pipe2(os.O_NONBLOCK)
    heard: list[bytes] = []
    loop.add_reader(read, lambda: heard.append(os.read(read, 9)))

    async def main() -> None:
        os.write(write, b"one")
        await loop.sleep(0.01)
        loop.remove_reader(read)
        os.write(write, b"two")
        await loop.sleep(0.01)
        await loop.readable(read)
        heard.append(os.read(read, 9))
        while True:
            try:
                os.write(write, b"x" * 65536)
            except BlockingIOError:
                break
        loop.call_later(0.01, lambda: os.read(read, 1 << 20))
        await loop.writable(write)

    run(loop, main())
    assert heard == [b"one", b"two"]
    os.close(read)
    os.close(write)


def test_a_reader_that_another_ended_is_not_called(loop: Loop) -> None:
    ends = [os.pipe(), os.pipe()]
    called: list[int] = []

    def only(fd: int) -> None:
        called.append(fd)
        for read, _ in ends:
            loop.remove_reader(read)

    for read, write in ends:
        loop.add_reader(read, lambda fd=read: only(fd))  # type: ignore[misc]
        os.write(write, b"x")
    run(loop, loop.sleep(0.01))
    assert len(called) == 1
    for pair in ends:
        for fd in pair:
            os.close(fd)


def test_a_fault_in_one_call_does_not_end_the_others(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.call_soon(lambda: 1 // 0)
    run(loop, loop.sleep(0.01))
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_a_signal_wakes_it(loop: Loop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    came = loop.create_future()
    loop.on_signal(signal.SIGUSR1, came.wake)
    try:
        loop.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGUSR1))
        assert run(loop, loop.wait(came, 60)) is True
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGUSR1, before)
