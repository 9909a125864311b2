"""A Ray cluster of a test's own on this machine: each node with processes, a name, slots and an engine of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from pathlib import Path

_RAY = str(Path(sys.executable).with_name("ray"))
_SECONDS = 150
_PATIENT = {"RAY_raylet_start_wait_time_s": "120"}  # on a busy machine


class RayCluster:
    """The folder should have a short path: sockets lie in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes: dict[str, Process] = {}

    @property
    def address(self) -> str:
        return (self._folder / "ray_current_cluster").read_text().strip()

    async def start(self) -> None:
        """The head, which has no slot."""
        quick = '--system-config={"health_check_period_ms": 1000}'
        await self._start(
            "head", "--head", "--port=0", "--include-dashboard=false", f"--temp-dir={self._folder}", quick
        )

    async def add(self, name: str, slots: int, engine: str) -> None:
        """One at a time: two that start at once choose the same sockets. `engine` is for DOCKER_HOST."""
        has = f'--resources={{"docker_slot": {slots}}}'
        await self._start(name, f"--address={self.address}", has, DOCKER_HOST=engine)

    async def kill(self, name: str) -> None:
        """All its processes at once, none of which can say good-bye."""
        node = self._nodes.pop(name)
        for process in (*_descendants(node.pid), node.pid):
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        await node.communicate()

    async def stop(self) -> None:
        for name in list(self._nodes):
            await self.kill(name)
        shutil.rmtree(self._folder)

    async def _start(self, name: str, *more: str, **env: str) -> None:
        usual = ("--num-cpus=0", "--object-store-memory=100000000", "--disable-usage-stats", f"--node-name={name}")
        node = self._nodes[name] = await asyncio.create_subprocess_exec(
            _RAY, "start", "--block", *usual, *more, env={**os.environ, **_PATIENT, **env}, stdout=PIPE, stderr=STDOUT,
            start_new_session=True,
        )  # fmt: skip
        assert node.stdout
        said = b""
        async with asyncio.timeout(_SECONDS):
            while b"Ray runtime started" not in said:
                said += (line := await node.stdout.readline())
                assert line, said.decode()


def _descendants(process: int) -> list[int]:
    """Those of all its threads."""
    children = [int(child) for file in Path(f"/proc/{process}/task").glob("*/children") for child in _words(file)]
    return [found for child in children for found in (*_descendants(child), child)]


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # it has just ended
        return []
