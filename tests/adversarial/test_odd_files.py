"""Danger: files that are no files. Pipes and devices that never end, holes of a petabyte, paths without a bottom."""

from __future__ import annotations

import asyncio

import pytest
from tests.adversarial.careless_exec import Careless
from tests.conftest import new_place
from tests.sandbox.conftest import Call

from dockwright.sandbox import Sandbox, open_sandbox

DEEP = "import os\nfor _ in range(3000): os.mkdir('d' * 50); os.chdir('d' * 50)\nopen('bottom', 'w').write('needle')\n"


@pytest.mark.docker
async def test_a_careless_read_of_a_pipe_never_returns(careless: Careless) -> None:
    assert await careless.sh("rm -f pipe; mkfifo pipe; cat pipe", seconds=1.5) == (None, b"")


async def test_every_tool_answers_beside_odd_files(sandbox: Sandbox, call: Call) -> None:
    odd = "mkfifo pipe; ln -s /dev/zero zero; ln -s pipe link; ln -s a a; ln -s /proc/kmsg log; truncate -s 1T sparse"
    more = "mkdir in; mkfifo in/pipe; ln -s .. in/up; truncate -s 60M in/hole; echo needle > in/file"
    await sandbox.exec(["sh", "-c", f"{odd}; {more}"])
    async with asyncio.timeout(60):
        for path in ("pipe", "zero", "link", "a", "in/pipe", "/proc/self/mem", "/dev/stdin", "/dev/tty"):
            assert (await call("Read", file_path=path)).is_error
        assert len((await call("Read", file_path="sparse")).text) < 200_000
        assert "in/file" in (await call("Grep", pattern="needle")).text
        assert "in/file" in (await call("Glob", pattern="**/*")).text


async def test_a_hole_is_read_in_slices(sandbox: Sandbox) -> None:
    await sandbox.exec(["truncate", "-s", "8G", "hole"])
    async with asyncio.timeout(20):
        assert await sandbox.read("/workspace/hole", offset=7 << 30, limit=10) == b"\0" * 10


async def test_a_path_without_a_bottom_hinders_nobody(backend: str) -> None:
    async with open_sandbox(new_place(backend, inodes=2000)) as sandbox:
        done = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", DEEP])
        assert done.full is not None  # it was counted all the same
        with pytest.raises(OSError, match="too long"):
            await sandbox.read(f"/workspace/{'/'.join(['d' * 50] * 100)}/bottom")
        await sandbox.exec(["rm", "-rf", "/workspace/" + "d" * 50])
        assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"
