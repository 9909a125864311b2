"""Which tasks are at work and which wait: as many at once as was asked for, which may change while they are.

Everything that somebody may want of a running batch is a method here; `control` and the keyboard only call them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from dockwright.errors import ConfigError
from dockwright.tasks import ListedTask

_INTERRUPTED = "Interrupted. Running tasks hand over what they have; once more to stop at once."


class Queue:
    """`attempt` does a task; `may_start` says whether another may be begun, `say` tells the user something."""

    def __init__(
        self, listed: Sequence[ListedTask], left: Sequence[ListedTask], jobs: int,
        attempt: Callable[[ListedTask], Awaitable[None]], say: Callable[[str], object],
        may_start: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self.listed = {task.id: task for task in listed}
        self.waiting = deque(left)
        self.running: dict[str, asyncio.Task[None]] = {}
        self.jobs, self.paused, self.interrupted = jobs, False, False
        self._attempt, self._say, self._may_start = attempt, say, may_start
        self._changed = asyncio.Event()

    async def work(self) -> None:
        """Do all tasks. Cancelled once, it starts nothing more and has the running ones end in good order; twice, at
        once. An error that is not a task's own stops the others and is raised."""
        failed: BaseException | None = None
        while self.running or self._can_start():
            while self._can_start() and not self.paused and len(self.running) < self.jobs:
                self._start(self.waiting.popleft())
            try:
                await self._changed.wait()
            except asyncio.CancelledError:
                if not self.interrupted:
                    self._say(_INTERRUPTED)
                self.interrupted = True
                self._stop_all()
            self._changed.clear()
            for id_, task in [(id_, task) for id_, task in self.running.items() if task.done()]:
                del self.running[id_]
                if not task.cancelled() and (error := task.exception()) is not None:
                    failed = failed or error
                    self._stop_all()
        if failed:
            raise failed

    def pause(self) -> None:
        self.paused = True

    def go(self) -> None:
        self.paused = False
        self.wake()

    def set_jobs(self, jobs: int) -> None:
        self.jobs = jobs
        self.wake()

    def cancel(self, id_: str) -> None:
        """A running task hands over what it has, a waiting one is not begun."""
        if id_ in self.running:
            self.running[id_].cancel()
            return
        task = self._waiting(id_)
        if task is None:
            raise ConfigError(f"{id_} is not running and does not wait.")
        self.waiting.remove(task)
        self.wake()

    def requeue(self, id_: str) -> None:
        """Do a task again, once more after all that wait."""
        if id_ not in self.listed:
            raise ConfigError(f"There is no task {id_} in this batch.")
        if id_ in self.running or self._waiting(id_) or self.interrupted:
            raise ConfigError(f"{id_} is running or waits already. Cancel it first.")
        self.waiting.append(self.listed[id_])
        self.wake()

    def wake(self) -> None:
        self._changed.set()

    def _waiting(self, id_: str) -> ListedTask | None:
        return next((task for task in self.waiting if task.id == id_), None)

    def _can_start(self) -> bool:
        return bool(self.waiting) and not self.interrupted and self._may_start()

    def _start(self, task: ListedTask) -> None:
        self.running[task.id] = asyncio.create_task(self._work_on(task))
        self.running[task.id].add_done_callback(lambda _: self.wake())

    async def _work_on(self, task: ListedTask) -> None:
        await self._attempt(task)

    def _stop_all(self) -> None:
        self.waiting.clear()
        for task in self.running.values():
            task.cancel()
