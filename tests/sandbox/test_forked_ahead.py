"""Commands are forked ahead of time: what happens to one must not touch the next, which is there already."""

from __future__ import annotations

import pytest

from dockwright.sandbox import Sandbox


async def test_a_command_after_one_that_could_not_start_runs(sandbox: Sandbox) -> None:
    for _ in range(40):
        with pytest.raises(FileNotFoundError):
            await sandbox.exec(["true"], cwd="/nowhere")
        assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"


async def test_a_command_after_one_whose_supervisor_was_killed_runs(sandbox: Sandbox) -> None:
    for _ in range(40):
        await sandbox.exec(["sh", "-c", "kill -9 $PPID; true"])
        assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"
