"""A Docker engine of a test's own, beside the one of the machine: its own data, socket and containers, no network."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

_SECONDS = 60


class Engine:
    """`host` is for DOCKER_HOST. It has a network of its own: told to have no bridge, it would remove the machine's.
    The folder should have a short path: sockets lie in it."""

    def __init__(self, folder: Path) -> None:
        self.host = f"unix://{folder}/engine.sock"
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        folder, name = self._folder, self._folder.name
        with (folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                "unshare", "--net", "dockerd", "--data-root", folder / "data", "--exec-root", folder / "exec",
                "--host", self.host, "--pidfile", folder / "pid", "--bridge", "none", "--iptables=false",
                "--config-file", folder / "none", "--containerd-namespace", name,
                "--containerd-plugins-namespace", f"{name}-plugins",
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        async with asyncio.timeout(_SECONDS):
            while self.docker("version", check=False).returncode:
                assert self._process.returncode is None, (folder / "log").read_text()[-2000:]
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Its containers end with it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            async with asyncio.timeout(_SECONDS):
                await self._process.wait()

    def docker(self, *command: str, check: bool = True, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        env = {"PATH": os.environ["PATH"], "DOCKER_HOST": self.host}
        return subprocess.run(["docker", *command], env=env, input=stdin, capture_output=True, check=check)


@asynccontextmanager
async def second_engine(folder: Path, *images: str) -> AsyncIterator[Engine]:
    """With these images of the machine's own engine."""
    engine = Engine(folder)
    (folder / "none").write_text("{}")
    try:
        await engine.start()
        saved = subprocess.run(["docker", "save", *images], capture_output=True, check=True)
        engine.docker("load", stdin=saved.stdout)
        yield engine
    finally:
        await engine.stop()
        shutil.rmtree(folder, ignore_errors=True)
