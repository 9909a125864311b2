"""A Docker engine of a test's own, beside the one of the machine: its own data, socket and containers, no network."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import signal
import subprocess
import tarfile
import time
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
        self._killed = False

    async def start(self) -> None:
        folder, name = self._folder, self._folder.name.replace("_", "0")  # containerd takes few names with "_" in them
        self._killed = False
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
        """Its containers end with it; those of one that was killed, too."""
        if self._killed:
            await self.start()
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            async with asyncio.timeout(_SECONDS):
                await self._process.wait()
        data = self._folder / "data"
        while f" {data} " in Path("/proc/self/mountinfo").read_text():  # one that was killed left it mounted on itself
            subprocess.run(["umount", data], check=True)

    async def kill(self) -> None:
        """Its containers go on without it."""
        assert self._process
        self._process.kill()
        await self._process.wait()
        self._killed = True

    def wedge(self, *, wedged: bool = True) -> None:
        """Have it take calls and never answer them, until it is not wedged any more."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP if wedged else signal.SIGCONT)

    def shell_archive(self) -> bytes:
        """What `docker save` makes of an image with nothing but a shell, which is not kept."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("bin/sh", "bin/test", "bin/sleep"):
                data = Path("/bin/busybox").read_bytes()
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o755
                tar.addfile(entry, io.BytesIO(data))
        self.docker("import", "-", "shell:only", stdin=archive.getvalue())
        saved = self.docker("save", "shell:only").stdout
        until = time.monotonic() + _SECONDS
        while self.docker("images", "-q", "shell:only").stdout:  # what was saved may be busy for a moment
            removed = self.docker("rmi", "shell:only", check=False)
            assert removed.returncode == 0 or time.monotonic() < until, removed.stderr
        return saved

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
