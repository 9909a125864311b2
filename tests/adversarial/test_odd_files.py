"""Danger: files that are no files. Pipes and devices that never end, holes of a petabyte, paths without a bottom."""

from __future__ import annotations

import asyncio
import errno

import pytest
from tests.adversarial.careless_exec import Careless
from tests.conftest import new_place

from dockwright.errors import ToolError
from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.tools import TOOLS
from dockwright.tools.base import ToolContext

DEEP = "import os\nfor _ in range(3000): os.mkdir('d' * 50); os.chdir('d' * 50)\nopen('bottom', 'w').write('needle')\n"


async def test_what_never_ends_is_not_read(sandbox: Sandbox) -> None:
    await sandbox.exec(["sh", "-c", "mkfifo pipe; ln -s /dev/zero zero; ln -s pipe link; ln -s loop loop"])
    async with asyncio.timeout(20):
        for name in ("pipe", "zero", "link"):
            with pytest.raises(OSError, match="not a regular file") as caught:
                await sandbox.read(f"/workspace/{name}")
            assert caught.value.errno == errno.EINVAL
        with pytest.raises(OSError, match="symbolic links"):
            await sandbox.read("/workspace/loop")


@pytest.mark.docker
async def test_a_careless_read_of_a_pipe_never_returns(careless: Careless) -> None:
    assert await careless.sh("rm -f pipe; mkfifo pipe; cat pipe", seconds=1.5) == (None, b"")


async def test_every_tool_answers_beside_odd_files(sandbox: Sandbox) -> None:
    odd = "mkfifo pipe; mkdir -p in; mkfifo in/pipe; ln -s /dev/zero in/zero; ln -s .. in/up; truncate -s 60M in/hole"
    await sandbox.exec(["sh", "-c", f"{odd}; echo needle > in/file"])
    context = ToolContext(sandbox)
    async with asyncio.timeout(60):
        grep = await TOOLS["Grep"].model_validate({"pattern": "needle", "path": "/workspace"}).run(context)
        glob = await TOOLS["Glob"].model_validate({"pattern": "**/*", "path": "/workspace"}).run(context)
        with pytest.raises((OSError, ToolError)):
            await TOOLS["Read"].model_validate({"file_path": "/workspace/in/pipe"}).run(context)
    assert "in/file" in grep.text
    assert "in/file" in glob.text


async def test_a_hole_is_read_in_slices(backend: str) -> None:
    async with open_sandbox(new_place(backend)) as sandbox:
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
