"""Commands are forked ahead of time: what happens to one must not touch the next, which is there already."""

from __future__ import annotations

import asyncio

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


async def test_who_watched_a_command_watches_another_unless_that_was_killed(sandbox: Sandbox) -> None:
    async def watchers() -> set[bytes]:
        return {(await sandbox.exec(["sh", "-c", "echo $PPID"])).stdout for _ in range(20)}

    assert len(await watchers()) < 10
    killed = await sandbox.exec(["sh", "-c", "echo $PPID; sleep 300"], timeout=0.5)
    assert killed.ended == "timeout"
    assert killed.stdout not in await watchers()


async def test_a_job_and_the_commands_after_it_leave_each_other_alone(sandbox: Sandbox) -> None:
    left = await sandbox.exec(["sh", "-c", "sleep 300 & echo $PPID"])
    assert left.job is not None
    later = await sandbox.exec(["sh", "-c", "echo $PPID; setsid sleep 300 & sleep 300"], timeout=0.5)
    assert (later.ended, later.job, later.stdout == left.stdout) == ("timeout", None, False)
    assert (await sandbox.poll(left.job)).status == "running"
    assert (await sandbox.kill(left.job)).status == "killed"
    assert (await sandbox.exec(["echo", "here"])).stdout == b"here\n"


async def test_commands_side_by_side_are_watched_one_by_one(sandbox: Sandbox) -> None:
    for _ in range(5):
        script = "echo $PPID; sleep 0.2"
        done = await asyncio.gather(*(sandbox.exec(["sh", "-c", script]) for _ in range(6)))
        assert len({one.stdout for one in done}) == 6
