"""An engine that goes away in the middle of a batch and comes back."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from tests.docker.engine import second_engine
from tests.e2e.batching import SCRIPTS, WRITE, Bench, ended

from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

SLOW = (Turn([WRITE]), Turn([tool_use("Bash", {"command": "sleep 5"})]), *SCRIPTS["works"][1:])


@pytest.mark.docker
async def test_a_batch_survives_a_restart_of_its_engine(tmp_path: Path) -> None:
    async with (
        ScriptedApi(scripts={**SCRIPTS, "slow": SLOW}) as api,
        second_engine(Path(tempfile.mkdtemp(prefix="dw-")), "dockwright/runtime:latest") as engine,
    ):
        (tmp_path / "shell.tar").write_bytes(engine.shell_archive())
        bench = Bench(tmp_path, "docker", api)
        image = {"image": "shell.tar"}
        bench.write_tasks(*((f"t{number}", "slow" if number < 2 else "works", image) for number in range(5)))
        process = await bench.start("-j", "2", "--disk", "1GB", DOCKER_HOST=engine.host)
        await bench.until_asked(t0=2, t1=2)
        await asyncio.sleep(1)

        await engine.stop()
        await asyncio.sleep(3)
        await engine.start()
        async with asyncio.timeout(120):
            code, _, err = await ended(process)

        assert (code, err) == (0, "")
        assert {line.id: line.status for line in bench.results()} == {f"t{number}": "verified" for number in range(5)}
        assert [line.attempt > 1 for line in bench.results()][:2] == [True, True]
        assert engine.docker("ps", "-aq").stdout == b""
        assert engine.docker("images", "--format", "{{.Repository}}").stdout == b"dockwright/runtime\n"
