"""The app of a run, to be looked at: in the sandbox that the agent is at work in, or, where the run is over, started
again in a new one, from the base commit and the patch, with new services."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dockwright.errors import ConfigError
from dockwright.journal import Journal
from dockwright.run.bench import Host, open_bench
from dockwright.run.order import load_order
from dockwright.run.preparing import prepared
from dockwright.run.tunnel import NotRunningError, Tell, is_over, open_port, take_connections
from dockwright.sandbox import Sandbox
from dockwright.workspace import Workspace

SERVE_SECONDS = 120.0
_SHOWN = 2000


async def show_app(folder: Path, port: int, host_port: int | None, serve: str | None, host: Host, tell: Tell) -> None:
    """Keep a port of the run's sandbox open on 127.0.0.1 until cancelled, or until the app ends."""
    try:
        async with open_port(folder, port, host_port, tell) as here:
            tell(f"http://127.0.0.1:{here} is port {port} of the running sandbox. Ctrl-C closes it.")
            await is_over(folder)
            tell(f"The run is over. To start its app again: dockwright open {folder.name} {port} --serve COMMAND")
            return
    except NotRunningError:
        pass
    if serve is None:
        raise ConfigError(
            f"The run {folder.name} is over, and its sandbox is gone. To start its app again, in a new sandbox with "
            f'what it delivered: dockwright open {folder.name} {port} --serve "COMMAND"'
        )
    task, config = load_order(folder)
    workspace = Workspace.load(folder)
    with (
        TemporaryDirectory(dir=folder, prefix="open-") as place,
        Journal(Path(place) / "journal.jsonl") as journal,
    ):
        name = f"{task.run}-open-{secrets.token_hex(2)}"
        settings = await prepared(config.sandbox, host, workspace, journal)
        async with open_bench(settings, host, name, "proof", journal) as sandbox:
            await workspace.enter(sandbox, await workspace.as_one_commit(workspace.last.commit))
            async with (
                take_connections(Path(place), sandbox),
                _served(sandbox, serve, port) as job,
                open_port(Path(place), port, host_port, tell) as here,
            ):
                tell(
                    f"http://127.0.0.1:{here} is port {port} of a new sandbox with what was delivered. Ctrl-C ends it."
                )
                await _ended(sandbox, job)
                tell(f"`{serve}` has ended.")


@asynccontextmanager
async def _served(sandbox: Sandbox, serve: str, port: int) -> AsyncIterator[str]:
    """The job that serves, once its port answers."""
    job = await sandbox.spawn([sandbox.shell, "-c", serve])
    said = b""
    try:
        async with asyncio.timeout(SERVE_SECONDS):
            while True:
                state = await sandbox.poll(job.id)
                said = (said + state.output)[-_SHOWN:]
                if state.status != "running":
                    raise ConfigError(f"`{serve}` ended with exit code {state.exit_code}.{_end_of(said)}")
                try:
                    stream = await sandbox.connect(port)
                except OSError:
                    await asyncio.sleep(0.2)
                    continue
                stream.cancel()
                break
    except TimeoutError as error:
        raise ConfigError(
            f"`{serve}` runs, but nothing answers on port {port} after {SERVE_SECONDS:g} s.{_end_of(said)}"
        ) from error
    yield job.id


async def _ended(sandbox: Sandbox, job: str) -> None:
    while True:
        if (await sandbox.poll(job)).status != "running":
            return
        await asyncio.sleep(0.5)


def _end_of(output: bytes) -> str:
    text = output.decode("utf-8", "replace").strip()
    return f" The end of what it printed:\n{text}" if text else ""
