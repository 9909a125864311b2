"""Tasks, timers and descriptors, with the names that asyncio has for them.

To import asyncio takes longer than all else that the runner does to start, and each fork copies its memory.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections import deque
from heapq import heappop, heappush
from itertools import count

TYPE_CHECKING = False  # not typing's, which would have to be imported
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from typing import Any

    Coro = Coroutine[Any, Any, Any]
    Call = Callable[[], object]


class Cancelled(BaseException):
    """Raised in a task where it waits, once for each `cancel`."""


class Future:
    """What will be there later: a value, or an exception that is raised where it is awaited."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self._done, self._value = False, None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future], object]] = []

    def __await__(self) -> Generator[Future, None, Any]:
        if not self._done:
            yield self
        return self.result()

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value

    def exception(self) -> BaseException | None:
        return self._error

    def set_result(self, value: Any, error: BaseException | None = None) -> None:
        assert not self._done  # noqa: S101 - a fault of ours
        self._done, self._value, self._error = True, value, error
        for callback in self._callbacks:
            self.loop.call_soon(callback, self)
        self._callbacks.clear()

    def set_exception(self, error: BaseException) -> None:
        self.set_result(None, error)

    def wake(self, _: object = None) -> None:
        """Let go on who waits for it, if that has not been done."""
        if not self._done:
            self.set_result(None)

    def add_done_callback(self, callback: Callable[[Future], object]) -> None:
        if self._done:
            self.loop.call_soon(callback, self)
        else:
            self._callbacks.append(callback)

    def remove_done_callback(self, callback: Callable[[Future], object]) -> None:
        if callback in self._callbacks:
            self._callbacks.remove(callback)


class Task(Future):
    """A coroutine that is carried out. What it waits for is not cancelled with it."""

    def __init__(self, loop: Loop, coroutine: Coro) -> None:
        super().__init__(loop)
        self._coroutine, self._cancelled = coroutine, False
        self._waits_for: Future | None = None
        loop.call_soon(self._step)

    def cancel(self) -> None:
        if self._done:
            return
        self._cancelled = True
        if self._waits_for is not None and not self._waits_for.done():  # else it is about to go on anyway
            self._waits_for.remove_done_callback(self._step)
            self._waits_for = None
            self.loop.call_soon(self._step)

    def _step(self, _: object = None) -> None:
        self._waits_for = None
        try:
            if self._cancelled:
                self._cancelled = False
                awaited = self._coroutine.throw(Cancelled())
            else:
                awaited = self._coroutine.send(None)
        except StopIteration as end:
            self.set_result(end.value)
        except Cancelled as error:
            self.set_exception(error)
        except Exception as error:  # noqa: BLE001 - told, and raised where it is awaited
            sys.excepthook(type(error), error, error.__traceback__)
            self.set_exception(error)
        else:
            if self._cancelled:
                self.loop.call_soon(self._step)
            else:
                self._waits_for = awaited
                awaited.add_done_callback(self._step)


class Loop:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._readers: dict[int, Call] = {}
        self._writers: dict[int, Call] = {}
        self._ready: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._timers: list[tuple[float, int, Call]] = []
        self._numbers = count()  # of two timers for the same moment, the one that was first

    def create_future(self) -> Future:
        return Future(self)

    def create_task(self, coroutine: Coro) -> Task:
        return Task(self, coroutine)

    def call_soon(self, call: Callable[..., object], *args: object) -> None:
        self._ready.append((call, args))

    def call_later(self, seconds: float, call: Call) -> None:
        heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), call))

    def add_reader(self, fd: int, call: Call) -> None:
        self._watch(self._readers, fd, call)

    def remove_reader(self, fd: int) -> None:
        self._watch(self._readers, fd, None)

    def add_writer(self, fd: int, call: Call) -> None:
        self._watch(self._writers, fd, call)

    def remove_writer(self, fd: int) -> None:
        self._watch(self._writers, fd, None)

    def _watch(self, calls: dict[int, Call], fd: int, call: Call | None) -> None:
        known = self._wanted(fd)
        if call:
            calls[fd] = call
        else:
            calls.pop(fd, None)
        wanted = self._wanted(fd)
        if known and known != wanted:
            self._poll.unregister(fd)
        if wanted and known != wanted:
            self._poll.register(fd, wanted)

    def _wanted(self, fd: int) -> int:
        return (select.EPOLLIN if fd in self._readers else 0) | (select.EPOLLOUT if fd in self._writers else 0)

    async def readable(self, fd: int) -> None:
        await self._until(self._readers, fd)

    async def writable(self, fd: int) -> None:
        await self._until(self._writers, fd)

    async def _until(self, calls: dict[int, Call], fd: int) -> None:
        future = Future(self)
        self._watch(calls, fd, future.wake)
        try:
            await future
        finally:
            self._watch(calls, fd, None)

    async def wait(self, future: Future, seconds: float) -> bool:
        """Whether it is done by then."""
        if not future.done():
            either = Future(self)
            self.call_later(seconds, either.wake)
            future.add_done_callback(either.wake)
            try:
                await either
            finally:
                future.remove_done_callback(either.wake)
        return future.done()

    async def sleep(self, seconds: float) -> None:
        await self.wait(Future(self), seconds)

    def on_signal(self, number: int, call: Callable[[], object]) -> None:
        """Call this after the signal; of one signal only."""
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

        def came() -> None:
            os.read(read, 1 << 12)
            call()

        self.add_reader(read, came)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(number, lambda *_: None)

    def run(self, until: Future) -> None:
        while not until.done():
            for fd, mask in self._poll.poll(self._patience()):
                if mask & ~select.EPOLLOUT:
                    self.call_soon(self._heed, self._readers, fd)
                if mask & ~select.EPOLLIN:
                    self.call_soon(self._heed, self._writers, fd)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                self.call_soon(heappop(self._timers)[2])
            for _ in range(len(self._ready)):
                call, args = self._ready.popleft()
                try:
                    call(*args)
                except Exception as error:  # noqa: BLE001 - one fault is not the end of all the others
                    sys.excepthook(type(error), error, error.__traceback__)

    def _heed(self, calls: dict[int, Call], fd: int) -> None:
        if call := calls.get(fd):  # what came just before may have ended it
            call()

    def _patience(self) -> float:
        if self._ready:
            return 0
        return max(self._timers[0][0] - time.monotonic(), 0) if self._timers else -1
