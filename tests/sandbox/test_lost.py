"""A sandbox that goes away is SandboxLost, at once and with its cause; it is never the output of a command."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from tests.conftest import RUNTIME, new_place

from dockwright.errors import ConfigError, SandboxError, SandboxLost
from dockwright.sandbox import open_sandbox
from dockwright.sandbox.bubblewrap import Bubblewrap
from dockwright.sandbox.docker import Docker
from dockwright.sandbox.engine import connect


@pytest.mark.docker
async def test_a_removed_container_ends_open_calls_at_once() -> None:
    place = new_place("docker")
    async with open_sandbox(place) as sandbox:
        call = asyncio.create_task(sandbox.exec(["sleep", "300"]))
        await asyncio.sleep(0.2)
        client = connect()
        await asyncio.to_thread(client.containers.get(f"dockwright-{place.id}").remove, force=True)
        client.close()
        async with asyncio.timeout(20):
            with pytest.raises(SandboxLost, match=f"docker {place.id}"):
                await call
            with pytest.raises(SandboxLost):
                await sandbox.read("/etc/passwd")


async def test_the_agent_cannot_signal_or_trace_the_runner(backend: str) -> None:
    async with open_sandbox(new_place(backend)) as sandbox:
        script = "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p != $$ ] && kill -9 $p; done; kill -9 -1; true"
        await sandbox.exec(["sh", "-c", script])
        assert (await sandbox.exec(["echo", "still here"])).stdout == b"still here\n"
        denied = await sandbox.exec(["sh", "-c", "cat /proc/1/environ /proc/1/mem >/dev/null"], merge=True)
        assert denied.exit_code != 0


@pytest.mark.docker
async def test_an_image_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match=r"no image no/such:image.*docker pull no/such:image"):
        async with open_sandbox(Docker("no/such:image", "test-none", runtime_image=RUNTIME)):
            pass


async def test_a_root_without_an_interpreter_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="neither /opt/dockwright nor python3, git and rg"):
        async with open_sandbox(Bubblewrap(tmp_path, "test-none")):
            pass


async def test_a_closed_sandbox_leaves_no_folder() -> None:
    place = Bubblewrap(Path("/"), "test-gone")
    async with open_sandbox(place) as sandbox:
        await sandbox.write("/workspace/file", b"x")
        assert len(list(Path(tempfile.gettempdir()).glob("dockwright-test-gone-*"))) == 1
    assert list(Path(tempfile.gettempdir()).glob("dockwright-test-gone-*")) == []
