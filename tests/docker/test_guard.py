"""An engine that is asked too much, that is away, or that takes connections and never answers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox import open_sandbox
from dockwright.sandbox.docker import Docker
from dockwright.sandbox.engine import connect, in_thread
from dockwright.sandbox.guard import Guard


async def fail(guard: Guard, error: Exception) -> None:
    with pytest.raises(type(error)):
        async with guard:
            raise error


async def nothing() -> None:
    pass


async def test_an_engine_is_asked_a_few_things_at_once() -> None:
    guard, inside, most = Guard(3), 0, 0

    async def use() -> None:
        nonlocal inside, most
        async with guard:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.01)
            inside -= 1

    await asyncio.gather(*(use() for _ in range(12)))
    assert most == 3


async def test_after_failures_in_a_row_nothing_starts_until_the_engine_answers() -> None:
    answers = [SandboxError("away"), SandboxError("away"), None]

    async def probe() -> None:
        if error := answers.pop(0):
            raise error

    guard = Guard(pause=0.01, probe=probe)
    for _ in range(3):
        await fail(guard, SandboxError("broke"))
    assert guard.is_open
    async with guard:
        assert answers == []
    assert not guard.is_open


async def test_nobody_is_kept_waiting_who_can_go_to_another_engine() -> None:
    async def probe() -> None:
        raise SandboxError("away")

    guard = Guard(waits=False, probe=probe)
    for _ in range(3):
        await fail(guard, SandboxError("broke"))
    with pytest.raises(SandboxError, match=r"^away$"):
        async with guard:
            pass


async def test_a_success_between_failures_and_a_missing_image_are_no_reason_to_stop() -> None:
    guard = Guard(probe=nothing)
    for _ in range(4):
        await fail(guard, SandboxError("broke"))
        async with guard:
            pass
        await fail(guard, ConfigError("no such image"))
    assert not guard.is_open


async def test_an_engine_that_takes_connections_and_never_answers_ends_the_wait_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is one of ours that is only listened on."""
    address = tmp_path / "engine.sock"
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, writer: held.append(writer), address)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{address}")

    async def probe() -> None:
        client = await in_thread(lambda: connect(1))
        client.close()

    guard = Guard(patience=2.0, pause=0.1, probe=probe)
    for _ in range(3):
        await fail(guard, SandboxError("broke"))
    began = time.monotonic()
    with pytest.raises(SandboxError, match=r"not answered for \d+ s. No Docker engine answered"):
        async with guard:
            pass
    assert time.monotonic() - began < 30
    assert held
    server.close()
    for writer in held:
        writer.close()


@pytest.mark.docker
async def test_many_sandboxes_at_once_pass_a_guard_one_after_another_and_leave_nothing() -> None:
    guard = Guard(2)

    async def use(number: int) -> bytes:
        async with open_sandbox(Docker("dockwright/workbench:latest", f"test-guard-{number}", guard=guard)) as sandbox:
            return (await sandbox.exec(["echo", str(number)])).stdout

    assert await asyncio.gather(*(use(number) for number in range(4))) == [b"0\n", b"1\n", b"2\n", b"3\n"]
