"""Whoever calls, a user with rights over the machine or one without any: a sandbox comes up and holds."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOTFS, RUNTIME, WORKBENCH

TRY = """
import asyncio, os, sys
from pathlib import Path
from dockwright.sandbox import open_sandbox
from dockwright.sandbox.bubblewrap import Bubblewrap
from dockwright.sandbox.docker import Docker
backend, image, runtime, root = sys.argv[1:]
name = f"test-caller-{os.getuid()}"
place = Docker(image, name, runtime_image=runtime) if backend == "docker" else Bubblewrap(Path(root), name)
async def main():
    async with open_sandbox(place) as sandbox:
        await sandbox.write("/workspace/file", b"x")
        done = await sandbox.exec(["sh", "-c", "id -u; stat -c %u file; grep -c ^Seccomp:.2 /proc/self/status"])
        print(os.getuid(), *done.stdout.decode().split())
asyncio.run(main())
"""
CALLERS = (0, 1000, 4321) if os.getuid() == 0 else (os.getuid(),)  # only root can be others


@pytest.mark.parametrize("uid", CALLERS)
async def test_any_caller_gets_a_sandbox(backend: str, uid: int, tmp_path: Path) -> None:
    engine = Path("/var/run/docker.sock")
    group = engine.stat().st_gid if backend == "docker" else uid
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={group}", "--inh-caps=-all", "--"]
    source = Path(__file__).parents[2] / "src"
    root = ROOTFS if ROOTFS.exists() else Path("/")
    process = await asyncio.create_subprocess_exec(
        *(become if os.getuid() == 0 else []), sys.executable, "-c", TRY, backend, WORKBENCH, RUNTIME, str(root),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(source), "HOME": "/nowhere"}, cwd="/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, errors = await process.communicate()
    assert (output.decode().split(), errors) == ([str(uid), "1000", "1000", "1"], b"")
