"""A Ray cluster as the place where attempts are carried out. Ray says on which node each of them has its sandbox.

Only the connection to that node's engine leaves this machine: the journal, the money, the pace, the model's key and the
repository stay here. So an answer is on this disk before a tool acts on it, and a node takes nothing with it but what
has changed in its sandbox since the last checkpoint.
"""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from dockwright.batch.node import Local
from dockwright.config import Config
from dockwright.errors import ConfigError, SandboxError
from dockwright.journal import Sink
from dockwright.result import RunResult
from dockwright.run.work import Task
from dockwright.sandbox.guard import Guard

_RELAY = Path(__file__).with_name("relay.py")
_START_SECONDS, _END_SECONDS = 60.0, 10.0


class Cluster:
    """`where` is the address of the cluster, "auto" for that of this machine; `local` makes the place where attempts
    are carried out of a node's name and the address of its engine."""

    name = "Ray"

    def __init__(self, where: str, local: Callable[[str, str], Local]) -> None:
        self._where, self._local = where, local
        self._locals: dict[str, Local] = {}
        self._guard = Guard(probe=self._answers)
        self._process: Process | None = None
        self._folder = Path()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Cluster]:
        """Raises ConfigError where Ray is not installed, SandboxError where the cluster does not answer or has no node
        with slots."""
        if find_spec("ray") is None:
            raise ConfigError("--on ray needs Ray, which is not installed here: pip install 'dockwright[ray]'")
        try:
            await self._connect()
            yield self
        finally:
            await self._disconnect()

    async def carry_out(self, task: Task, config: Config, folder: Path, sinks: Sequence[Sink]) -> RunResult:
        async with self._told("slots") as node:
            (local,) = self._locals_of(node)
            return await local.carry_out(task, config, folder, sinks)

    async def ready(self) -> None:
        await self._guard.ready()

    async def reap(self, runs: Collection[str]) -> None:
        async def of(local: Local) -> None:
            with suppress(SandboxError):  # a node that has just left
                await local.reap(runs)

        async with self._told("nodes") as nodes:
            await asyncio.gather(*map(of, self._locals_of(nodes)))

    async def _answers(self) -> None:
        if self._process is None or self._process.returncode is not None:
            await self._disconnect()
            await self._connect()
        async with self._told("nodes"):
            pass

    async def _connect(self) -> None:
        self._folder = Path(mkdtemp(prefix="dockwright-ray-"))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", _RELAY, self._folder, self._where, stdin=PIPE, stdout=PIPE, stderr=DEVNULL,
            cwd=self._folder, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(_START_SECONDS):
                _read(await self._process.stdout.readline())
        except (TimeoutError, SandboxError) as error:
            cause = str(error) or f"it gave no answer within {_START_SECONDS:g} s"
            raise SandboxError(
                f"The Ray cluster ({self._where}) cannot be used: {cause}. Start one, this machine being one of its "
                "nodes, or name its address: --on ray:HOST:PORT. docs/batch.md says how."
            ) from error

    async def _disconnect(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                async with asyncio.timeout(_END_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.to_thread(rmtree, self._folder, ignore_errors=True)

    @asynccontextmanager
    async def _told(self, what: str) -> AsyncIterator[Mapping[str, str]]:
        """Nodes: the address of the engine of each, and its own."""
        try:
            reader, writer = await asyncio.open_unix_connection(self._folder / what)
        except OSError as error:
            raise SandboxError("The Ray cluster was lost. Is its head there? See: ray status") from error
        try:
            yield _read(await reader.readline())
        finally:
            writer.close()

    def _locals_of(self, nodes: Mapping[str, str]) -> list[Local]:
        for engine, address in nodes.items():
            if engine not in self._locals:
                self._locals[engine] = self._local(address, engine)
        return [self._locals[engine] for engine in nodes]


def _read(line: bytes) -> Mapping[str, str]:
    """Raises SandboxError."""
    if not line:
        raise SandboxError("Ray went away without a word")
    said: dict[str, str] = json.loads(line)
    if "error" in said:
        raise SandboxError(said["error"])
    return said
