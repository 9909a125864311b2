"""Danger: a container or an engine that stops answering. Each is an error that says so within seconds, never a wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.adversarial.careless_exec import careless_sandbox
from tests.conftest import RUNTIME, WORKBENCH, new_place

from dockwright.errors import SandboxError, SandboxLost
from dockwright.sandbox import Place, open_sandbox
from dockwright.sandbox.docker import Docker
from dockwright.sandbox.engine import connect

SOCKET = "/var/run/docker.sock"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
VERSION = b'{"ApiVersion":"1.41","MinAPIVersion":"1.12","Version":"20.10.24"}'


@dataclass
class Engine:
    """Between us and the engine. `wedged` lets nothing through any more, in either direction, and closes nothing."""

    wedged: asyncio.Event = field(default_factory=asyncio.Event)

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(SOCKET)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                if self.wedged.is_set():
                    await asyncio.sleep(3600)
                target.write(data)
                await target.drain()
            target.write_eof()

        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer), return_exceptions=True)
        inner_writer.close()
        writer.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer):
        await asyncio.sleep(3600)


async def greets_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers who it is and that it is there, and nothing else."""
    with closing(writer), suppress(asyncio.IncompleteReadError):
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"/version" not in head and b"/_ping" not in head:
                await asyncio.sleep(3600)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
            writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(VERSION), VERSION))


async def sleep_in(place: Place, meanwhile: Callable[[], Awaitable[None]]) -> None:
    """A long call, under which something happens."""
    async with open_sandbox(place) as sandbox:
        call = asyncio.create_task(sandbox.exec(["sleep", "300"], timeout=300))
        await asyncio.sleep(0.5)
        await meanwhile()
        await call


async def engine_is_well() -> None:
    raise AssertionError("a sandbox came up")


@asynccontextmanager
async def served(serve: Serve, path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    server = await asyncio.start_unix_server(serve, path)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    try:
        yield
    finally:
        monkeypatch.delenv("DOCKER_HOST")
        server.close()


@pytest.mark.docker
@pytest.mark.parametrize("serve", [silent, greets_only])
async def test_an_engine_that_never_answers_is_said_so(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    async with served(serve, tmp_path / "engine.sock", monkeypatch):
        with pytest.raises(SandboxError, match=r"No Docker engine answered|failed or went away|no answer"):
            await sleep_in(Docker(WORKBENCH, "test-wedged", runtime_image=RUNTIME), engine_is_well)
    assert time.monotonic() - began < 60


@pytest.mark.docker
async def test_an_engine_that_wedges_under_a_run_is_a_lost_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, place = Engine(), new_place("docker")

    async def wedge() -> None:
        engine.wedged.set()

    async with served(engine.forward, tmp_path / "engine.sock", monkeypatch), asyncio.timeout(90):
        with pytest.raises(SandboxLost, match=r"no sign of life for .* seconds.*engine") as caught:
            await sleep_in(place, wedge)
    assert "dockwright gc" in caught.value.__notes__[0]
    client = connect()  # the engine itself, which is well
    try:
        client.containers.get(f"dockwright-{place.id}").remove(force=True, v=True)
        for volume in client.volumes.list(filters={"name": f"dockwright-{place.id}"}):
            volume.remove(force=True)
    finally:
        client.close()


@pytest.mark.docker
async def test_a_paused_container_is_lost_and_removed() -> None:
    place = new_place("docker")
    client = connect()

    async def pause() -> None:
        await asyncio.to_thread(client.containers.get(f"dockwright-{place.id}").pause)

    try:
        async with asyncio.timeout(90):
            with pytest.raises(SandboxLost, match="is paused"):
                await sleep_in(place, pause)
        assert client.containers.list(all=True, filters={"name": f"dockwright-{place.id}"}) == []
    finally:
        client.close()


@pytest.mark.docker
async def test_a_careless_exec_waits_for_a_paused_container_for_ever() -> None:
    async with careless_sandbox() as careless:
        call = asyncio.create_task(careless.sh("sleep 1", seconds=4))
        await asyncio.sleep(0.5)
        await asyncio.to_thread(careless.container.pause)
        assert await call == (None, b"")


@pytest.mark.docker
@pytest.mark.parametrize("end", ["stop", "kill", "remove"])
async def test_a_container_that_vanishes_ends_every_call(end: str) -> None:
    place = new_place("docker")
    client = connect()
    try:
        async with open_sandbox(place) as sandbox, asyncio.timeout(60):
            call = asyncio.create_task(sandbox.exec(["sleep", "300"], timeout=300))
            await asyncio.sleep(0.3)
            container = client.containers.get(f"dockwright-{place.id}")
            keywords: dict[str, Any] = {"timeout": 0} if end == "stop" else {"force": True} if end == "remove" else {}
            await asyncio.to_thread(getattr(container, end), **keywords)
            with pytest.raises(SandboxLost, match=place.id):
                await call
            with pytest.raises(SandboxLost):
                await sandbox.read("/etc/passwd")
    finally:
        client.close()
