"""Where the attempts of a batch are carried out: one place or several, each of which may go away and come back.

The next attempt goes where the fewest are at work. A place that lost a sandbox gets none until it answers again.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from dockwright.config import Config
from dockwright.errors import SandboxError
from dockwright.journal import Sink
from dockwright.result import RunResult
from dockwright.run import run
from dockwright.run.bench import Host
from dockwright.run.resume import resume
from dockwright.run.work import Task
from dockwright.sandbox.engine import in_thread, reap
from dockwright.sandbox.guard import Guard
from dockwright.sandbox.images import Images


class Node(Protocol):
    """`name` is told to the user; it is "" where there is only one."""

    @property
    def name(self) -> str: ...

    async def carry_out(self, task: Task, config: Config, folder: Path, sinks: Sequence[Sink]) -> RunResult:
        """Do a task in `folder`, which is on this machine when it ends; where it is there already, go on with the run
        in it. Raises ConfigError and SandboxError of what comes before the run; the run itself tells its ends in its
        result."""

    async def ready(self) -> None:
        """Return as soon as it answers. Raises SandboxError where it has been away for too long."""

    async def reap(self, runs: Collection[str]) -> None:
        """Remove what it still has of these runs. Raises SandboxError."""


@dataclass(frozen=True, eq=False)
class Local:
    """This process, with the sandboxes of an engine, or under bubblewrap, where `engine` is False."""

    name: str
    host: Host
    images: Images
    guard: Guard
    engine: bool = True

    async def carry_out(self, task: Task, config: Config, folder: Path, sinks: Sequence[Sink]) -> RunResult:
        async with self.images.held(config.sandbox.image) as image:
            config = config.model_copy(update={"sandbox": config.sandbox.model_copy(update={"image": image})})
            if await asyncio.to_thread(folder.exists):
                return await resume(folder, config, self.host, sinks, task)
            return await run(task, config, self.host, folder, sinks)

    async def ready(self) -> None:
        if self.engine:
            await self.guard.ready()

    async def reap(self, runs: Collection[str]) -> None:
        if self.engine and runs:
            await in_thread(partial(reap, runs, self.guard.address))


class Nodes:
    """All that there are. `lost` are runs that may have left something behind on one that was away."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._all: tuple[Node, ...] = tuple(nodes)
        self._at_work: Counter[Node] = Counter()
        self._awaited: dict[Node, asyncio.Task[None]] = {}
        self.lost: defaultdict[Node, set[str]] = defaultdict(set)

    @property
    def state(self) -> list[tuple[str, int, bool]]:
        """The name of each, how many are at work there, whether it answers, as far as is known."""
        return [(node.name, self._at_work[node], node not in self._awaited) for node in self._all]

    @asynccontextmanager
    async def least_loaded(self, tried: Collection[Node] = ()) -> AsyncIterator[Node]:
        """Held while an attempt is at work there; one that was tried only where there is no other. Raises SandboxError
        where all have been away for too long."""
        await self.ready()
        node = min(self._there, key=lambda node: (node in tried, self._at_work[node]))
        with self._counted(node):
            yield node

    async def ready(self) -> None:
        """Wait until one of them answers, if none does. Raises SandboxError."""
        for node, answer in list(self._awaited.items()):
            if answer.done():
                self._ask(node)
        while not self._there:
            asking = [answer for answer in self._awaited.values() if not answer.done()]
            if not asking:
                raise SandboxError(" ".join(str(answer.exception()) for answer in self._awaited.values()))
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)

    def lose(self, node: Node, run: str) -> None:
        """Begin nothing there until it answers and what it still has of this run is removed."""
        self.lost[node].add(run)
        if node not in self._awaited:
            self._ask(node)

    async def reap(self, runs: Collection[str]) -> list[str]:
        """Remove what they still have of these runs, and of those that they lost; the names of those that fail."""

        async def fails(node: Node) -> bool:
            try:
                await node.reap({*runs, *self.lost[node]})
            except SandboxError:
                return True
            return False

        failed = await asyncio.gather(*map(fails, self._all))
        return [node.name for node, fails in zip(self._all, failed, strict=True) if fails]

    async def close(self) -> None:
        for answer in self._awaited.values():
            answer.cancel()
        await asyncio.gather(*self._awaited.values(), return_exceptions=True)

    @contextmanager
    def _counted(self, node: Node) -> Iterator[None]:
        self._at_work[node] += 1
        try:
            yield
        finally:
            self._at_work[node] -= 1

    @property
    def _there(self) -> list[Node]:
        return [node for node in self._all if node not in self._awaited]

    def _ask(self, node: Node) -> None:
        async def answer() -> None:
            await node.ready()
            while gone := frozenset(self.lost[node]):
                await node.reap(gone)
                self.lost[node] -= gone  # they may go on there under the same names
            del self._awaited[node]

        self._awaited[node] = asyncio.create_task(answer())
