"""`dockwright gc` removes what a killed process left, and nothing of one that is alive."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from tests.conftest import new_place
from tests.e2e.running import Desk, leftovers

from dockwright.sandbox import open_sandbox
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use


@pytest.mark.collects
async def test_what_a_killed_run_left_is_removed_and_a_running_sandbox_is_not(tmp_path: Path, backend: str) -> None:
    desk = Desk(tmp_path)
    async with (
        open_sandbox(new_place(backend)) as alive,
        ScriptedApi([Turn([tool_use("Bash", {"command": "sleep 100"})])]) as api,
    ):
        process = await desk.start(api, *desk.arguments(backend))
        async with asyncio.timeout(60):
            while not api.requests:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        process.kill()
        await process.wait()
        run = desk.runs[-1].name
        assert left(run) != []
        code, said = await desk.call(None, "gc", "--dry-run")
        assert (code, run in said, alive.place.id in said, left(run) != []) == (0, True, False, True)
        code, said = await desk.call(None, "gc")
        assert (code, run in said, left(run)) == (0, True, [])
        assert (await alive.exec(["echo", "alive"])).stdout == b"alive\n"


async def test_a_sandbox_that_was_taken_over_is_not_removed(tmp_path: Path, backend: str) -> None:
    desk = Desk(tmp_path)
    nap = Turn([tool_use("Bash", {"command": "sleep 100"})])
    async with ScriptedApi([nap, nap]) as api:
        process = await desk.start(api, *desk.arguments(backend))
        for times in (1, 2):
            async with asyncio.timeout(60):
                while len(api.requests) < times:
                    await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
            run = desk.runs[-1].name
            if times == 1:
                process.kill()
                await process.wait()
                process = await desk.start(api, "resume", run)
        code, said = await desk.call(None, "gc", "--dry-run")
        assert (code, run in said, left(run) != []) == (0, False, True), said
        process.terminate()
        await process.wait()
    assert left(run) == []


def left(run: str) -> list[str]:
    return [*leftovers(run), *map(str, Path(tempfile.gettempdir()).glob(f"dockwright-{run}-*"))]
