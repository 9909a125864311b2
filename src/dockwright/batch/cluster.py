"""A Ray cluster as what attempts are carried out on. Ray says on which node each of them has its sandbox.

Only the connection to that node's engine leaves this machine: the journal, the money, the pace, the model's key and the
repository stay here. So an answer is on this disk before a tool acts on it, and a node takes nothing with it but what
has changed in its sandbox since the last checkpoint.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from dockwright.batch.node import Local, Node, Nodes
from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox.guard import Guard

_RELAY = Path(__file__).with_name("relay.py")
_START_SECONDS, _END_SECONDS = 60.0, 3.0


class Cluster(Nodes):
    """`address` is that of the cluster, "auto" for the one that this machine is part of; `local` makes what carries
    attempts out of the name of a node and the address of its engine."""

    def __init__(self, address: str, local: Callable[[str, str], Local]) -> None:
        super().__init__(())
        self._address, self._local = address, local
        self._known: dict[str, Local] = {}
        self._guard = Guard(probe=self._answers)
        self._relay: Process | None = None
        self._folder = Path()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Cluster]:
        """Raises ConfigError where Ray is not installed, SandboxError where the cluster does not answer or has no node
        with slots."""
        if find_spec("ray") is None:
            raise ConfigError("--on ray needs Ray, which is not installed here: pip install 'dockwright[ray]'")
        try:
            await self._answers()
            yield self
        finally:
            await self._disconnect()

    @property
    def state(self) -> list[tuple[str, int, bool]]:
        there = self._relay is not None and self._relay.returncode is None
        return [(name, at_work, there) for name, at_work, _ in super().state]

    @asynccontextmanager
    async def least_loaded(self, tried: Collection[Node] = ()) -> AsyncIterator[Node]:
        """As Ray sees it: where it has a slot for another attempt. Waits for one."""
        await self.ready()
        async with self._told("slots") as node:
            (local,) = self._locals(node)
            with self._counted(local):
                yield local

    async def ready(self) -> None:
        await self._guard.ready()

    def lose(self, node: Node, run: str) -> None:
        """Ray knows which node is there."""
        self.lost[node].add(run)

    async def reap(self, runs: Collection[str]) -> list[str]:
        """Also those that have left the cluster fail, where they lost a run."""
        with suppress(SandboxError):
            await self._look()
        there = {node.name for node in self._all}
        gone = {node.name for node in self.lost} - there
        return [*sorted(gone), *await super().reap({*runs, *chain(*self.lost.values())})]

    async def _answers(self) -> None:
        if self._relay is None or self._relay.returncode is not None:
            await self._disconnect()
            await self._connect()
        await self._look()

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS), self._told("nodes") as nodes:
                self._all = self._locals(nodes)
        except TimeoutError as error:
            raise SandboxError(f"The Ray cluster gave no answer within {_START_SECONDS:g} s.") from error

    async def _connect(self) -> None:
        self._folder = Path(mkdtemp(prefix="dockwright-ray-"))
        self._relay = await asyncio.create_subprocess_exec(
            sys.executable, "-P", _RELAY, self._folder, self._address, stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
            cwd=self._folder, start_new_session=True,
        )  # fmt: skip
        assert self._relay.stdout is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(_START_SECONDS):
                _read(await self._relay.stdout.readline())
        except (TimeoutError, SandboxError) as error:
            await self._disconnect()
            cause = str(error) or f"it gave no answer within {_START_SECONDS:g} s"
            raise SandboxError(
                f"The Ray cluster ({self._address}) cannot be used: {cause}. This machine and those with engines have "
                "to be nodes of one; docs/batch.md says how to start it. --on ray:HOST:PORT names another."
            ) from error

    async def _disconnect(self) -> None:
        relay, self._relay = self._relay, None
        if relay is None or relay.stdin is None:
            return
        relay.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await relay.wait()
        except TimeoutError:
            relay.kill()
            await relay.wait()
        await asyncio.to_thread(rmtree, self._folder, ignore_errors=True)

    @asynccontextmanager
    async def _told(self, what: str) -> AsyncIterator[Mapping[str, str]]:
        """Nodes: the name of each by the address of its engine. Raises SandboxError."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._folder / what)
        except OSError as error:
            raise SandboxError("The Ray cluster was lost. Is its head there? See: ray status") from error
        try:
            yield _read(await reader.readline())
        finally:
            writer.close()

    def _locals(self, nodes: Mapping[str, str]) -> tuple[Local, ...]:
        for engine, name in nodes.items():
            if engine not in self._known:
                self._known[engine] = self._local(name, engine)
        return tuple(self._known[engine] for engine in nodes)


def _read(line: bytes) -> Mapping[str, str]:
    if not line:
        raise SandboxError("Ray went away without a word")
    said: dict[str, str] = json.loads(line)
    if "error" in said:
        raise SandboxError(said["error"])
    return said
