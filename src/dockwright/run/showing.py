"""The app of a run, to be looked at: in the sandbox that the agent is at work in, or, where the run is over, in a new
one that has the files and the data of the services as they were kept last."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dockwright.config import Config
from dockwright.errors import ConfigError
from dockwright.events import Event, Noted
from dockwright.journal import Journal, read
from dockwright.run.bench import Bench, Host, open_bench
from dockwright.run.moments import Moments
from dockwright.run.order import load_order
from dockwright.run.preparing import prepared
from dockwright.run.tunnel import NotRunningError, Tell, is_over, open_port, take_connections
from dockwright.sandbox import WORKSPACE, Sandbox
from dockwright.services import services_of
from dockwright.workspace import Workspace

SERVE_SECONDS = 120.0
_SHOWN = 2000


async def show_app(folder: Path, port: int, host_port: int | None, serve: str | None, host: Host, tell: Tell) -> None:
    """Keep a port of the run's sandbox open on 127.0.0.1 until cancelled, or until the app ends. `serve` starts the app
    of a run that is over; None is what the run itself was asked to start it with."""
    try:
        async with open_port(folder, port, host_port, tell) as here:
            tell(f"http://127.0.0.1:{here} is port {port} of the running sandbox. Ctrl-C closes it.")
            await is_over(folder)
            tell(f"The run is over. To see what it delivered: dockwright open {folder.name} {port} --serve COMMAND")
            return
    except NotRunningError:
        pass
    task, config = load_order(folder)
    serve = serve or task.proof.serve
    services = services_of(config.sandbox)
    is_service = port in [service.port for service in services]
    if serve is None and not is_service:
        raise ConfigError(
            f"The run {folder.name} is over, its sandbox is gone, and it had no --serve that would start its app. Say "
            f'how: dockwright open {folder.name} {port} --serve "COMMAND"'
        )
    names = " and ".join(service.name for service in services)
    data = f", with the data of {names} as it was kept last" if services else ""
    tell(f"The run {folder.name} is over. What it made is brought back in a new sandbox{data}.")
    with TemporaryDirectory(dir=folder, prefix="open-") as place:
        async with _as_it_was(folder, Path(place), config, host, tell) as sandbox, AsyncExitStack() as stack:
            await stack.enter_async_context(take_connections(Path(place), sandbox))
            job = await _serve(sandbox, serve, port) if serve else None
            here = await stack.enter_async_context(open_port(Path(place), port, host_port, tell))
            started = f"`{serve}` was started in it." if serve else "Nothing was started in it."
            scheme = "" if is_service else "http://"
            tell(f"{scheme}127.0.0.1:{here} is port {port} of this sandbox. {started} Ctrl-C ends it all.")
            await _until_it_ends(sandbox, job, tell)
            tell(f"`{serve}` has ended.")


@asynccontextmanager
async def _as_it_was(folder: Path, place: Path, config: Config, host: Host, tell: Tell) -> AsyncIterator[Bench]:
    """A sandbox with the files and the services of a run as they were kept last. The run's folder is only read."""

    def pass_on(event: Event) -> None:
        if isinstance(event, Noted):
            tell(event.text)

    workspace = Workspace.load(folder)
    last = Moments(await asyncio.to_thread(lambda: tuple(read(folder / "journal.jsonl")))).now
    (place / "services").symlink_to(folder / "services")
    with Journal(place / "journal.jsonl", (pass_on,)) as journal:
        settings = await prepared(config.sandbox, host, workspace, journal)
        name = f"{folder.name}-open-{secrets.token_hex(2)}"
        async with open_bench(settings, host, name, "proof", journal) as sandbox:
            await workspace.enter(sandbox, await workspace.as_one_commit(workspace.last.commit))
            if sandbox.services and last.services:
                await sandbox.services.restore(last.services)
            yield sandbox


async def _serve(sandbox: Sandbox, serve: str, port: int) -> str:
    """Start the app and return its job once its port answers. Raises ConfigError where it does not."""
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
                return job.id
    except TimeoutError as error:
        raise ConfigError(
            f"`{serve}` runs, but nothing answers on port {port} after {SERVE_SECONDS:g} s.{_end_of(said)}"
        ) from error


async def _until_it_ends(sandbox: Sandbox, job: str | None, tell: Tell) -> None:
    """Tell what the app prints, and return when it ends; without one, that is never. Raises SandboxLost."""
    while True:
        if job is None:
            await sandbox.stat(WORKSPACE)
        else:
            state = await sandbox.poll(job)
            if text := state.output.decode("utf-8", "replace").rstrip():
                tell(text)
            if state.status != "running":
                return
        await asyncio.sleep(0.5)


def _end_of(output: bytes) -> str:
    text = output.decode("utf-8", "replace").strip()
    return f" The end of what it printed:\n{text}" if text else ""
