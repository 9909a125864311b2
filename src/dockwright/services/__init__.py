"""Databases and the like beside a sandbox: on its loopback, for this run only, gone with it.

They are ready before the first turn, watched after, and told of when they die. Their state is kept with the checkpoints
of the workspace, outside of the containers, when it changed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dockwright.errors import ConfigError, SandboxError, SandboxLost
from dockwright.events import Noted, ServiceDied, ServiceStarted
from dockwright.journal import Journal
from dockwright.sandbox import Sandbox
from dockwright.sandbox.closing import in_full
from dockwright.sandbox.engine import in_thread
from dockwright.sandbox.guard import Guard
from dockwright.services.asking import postgres
from dockwright.services.container import ServiceContainer
from dockwright.services.kinds import Service, services_of

__all__ = ["Service", "Services", "open_services", "services_of"]

READY_SECONDS = 60
_MOST_DEATHS, _STEADY_SECONDS = 3, 60.0


@dataclass
class _Running:
    container: ServiceContainer
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    mark: str | None = None  # of the data when it was last saved or loaded; None where that is not known
    version: int = 0  # of the saved state; 0 is that of a new service
    deaths: int = 0  # one soon after the other
    since: float = 0.0

    @property
    def service(self) -> Service:
        return self.container.service


class Services:
    """The services of one sandbox. `folder` is where their states go."""

    def __init__(
        self, sandbox: Sandbox, containers: Sequence[ServiceContainer], folder: Path, journal: Journal
    ) -> None:
        self._sandbox, self._folder, self._journal = sandbox, folder, journal
        self._all = [_Running(container) for container in containers]
        self._watches: list[asyncio.Task[None]] = []
        self._news: list[str] = []
        self._lost: SandboxLost | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell the model of each."""
        return tuple(one.service.line for one in self._all)

    @property
    def env(self) -> Mapping[str, str]:
        return {name: value for one in self._all for name, value in one.service.tell.items()}

    async def start(self, purpose: Literal["work", "proof"]) -> None:
        async def start(one: _Running) -> None:
            began = time.monotonic()
            await self._bring_up(one, new=True)
            service = one.service
            await self._journal.append(
                ServiceStarted(
                    purpose=purpose, name=service.name, image=service.image, port=service.port,
                    seconds=round(time.monotonic() - began, 3),
                )
            )  # fmt: skip

        async with asyncio.TaskGroup() as group:
            for one in self._all:
                group.create_task(start(one))
        self._watch()

    async def word(self) -> str:
        """What happened to services since it was asked last, for the model; "" for nothing. Waits for those that are
        being brought back. Raises SandboxLost where one cannot be."""
        for one in self._all:
            await one.ready.wait()
        if self._lost:
            raise self._lost
        news, self._news = self._news, []
        return "\n".join(news)

    async def save(self) -> str | None:
        """Keep the state of each as it is now, where it changed; a name to restore it by. None where none has any."""
        await self._settled()
        kept = [one for one in self._all if one.service.save]
        await asyncio.gather(*(self._save(one) for one in kept))
        return " ".join(f"{one.service.name}-{one.version}" for one in kept) or None

    async def restore(self, name: str | None) -> None:
        """Make the state of each what it was when it was saved under this name; None is that of new ones. Connections
        to those that change are cut. Raises SandboxError where it was not kept, before anything is changed."""
        await self._settled()
        wanted = dict(part.rsplit("-", 1) for part in (name or "").split())
        versions = {one.service.name: int(wanted.get(one.service.name, "0")) for one in self._all if one.service.save}
        for one in self._all:
            version = versions.get(one.service.name, 0)
            if version and not self._file(one, version).exists():
                raise SandboxError(
                    f"The state {version} of {one.service.name} is not there: {self._file(one, version)}"
                )
        self._stop_watching()
        try:
            changed = [one for one in self._all if one.service.save and await self._differs(one, versions)]
            await asyncio.gather(*(self._load(one, versions[one.service.name]) for one in changed))
        finally:
            self._watch()

    async def close(self) -> None:
        self._stop_watching()
        results = await asyncio.gather(*(one.container.close() for one in self._all), return_exceptions=True)
        for failure in results:
            if isinstance(failure, BaseException):
                raise failure

    # inside

    async def _settled(self) -> None:
        for one in self._all:
            await one.ready.wait()
        if self._lost:
            raise self._lost

    async def _bring_up(self, one: _Running, *, new: bool = False, state: Path | None = None) -> None:
        """Start it and wait until it answers. Raises SandboxError with what it said where it does not."""
        service = one.service
        await one.container.start(new=new, state=state)
        until, problem = time.monotonic() + READY_SECONDS, "it does not answer"
        while one.container.runs and time.monotonic() < until:
            try:
                mark = await service.mark(self._sandbox)
                if service.health is None or await one.container.healthy(service.health):
                    await self._first(one, new=new)
                    one.mark = mark if new or state else None
                    one.since = time.monotonic()
                    one.container.forget()
                    one.ready.set()
                    return
                problem = f"`{service.health}` fails in it"
            except (OSError, TimeoutError) as error:
                problem = f"on port {service.port}: {getattr(error, 'strerror', None) or error}"
            await asyncio.sleep(0.05)
        why = problem if one.container.runs else await one.container.ended()
        raise SandboxError(f"The service {service.name} ({service.image}) did not become ready: {why}.")

    async def _first(self, one: _Running, *, new: bool) -> None:
        for what, query in one.service.first if new else ():
            try:
                await postgres(self._sandbox, one.service.port, "postgres", query)
            except OSError as error:
                raise ConfigError(f"PostgreSQL refused to make {what}: {error}") from error

    def _watch(self) -> None:
        self._watches = [asyncio.create_task(self._bring_back_when_dead(one)) for one in self._all]

    def _stop_watching(self) -> None:
        for watch in self._watches:
            watch.cancel()
        self._watches = []

    async def _bring_back_when_dead(self, one: _Running) -> None:
        while True:
            await one.container.gone()
            one.ready.clear()  # at once: what is asked meanwhile waits
            why = await one.container.ended()
            began, name = time.monotonic(), one.service.name
            one.deaths = 1 if began - one.since > _STEADY_SECONDS else one.deaths + 1
            try:
                if one.deaths > _MOST_DEATHS:
                    raise SandboxError(f"It died {one.deaths} times, each soon after it was started.")
                await self._bring_up(one)
            except (SandboxError, ConfigError) as error:
                await self._journal.append(ServiceDied(name=name, reason=why, back=False))
                self._lost = SandboxLost(f"The service {name} died ({why}) and cannot be brought back. {error}")
                one.ready.set()
                return
            await self._journal.append(
                ServiceDied(name=name, reason=why, back=True, seconds=round(time.monotonic() - began, 3))
            )
            data = "with the data it had" if one.service.data else "without the data it had"
            self._news.append(
                f"[The service {name} died: {why}. It was started again {data}, and answers. Connections were cut.]"
            )

    async def _save(self, one: _Running) -> None:
        try:
            mark = await one.service.mark(self._sandbox)
            if mark == one.mark:
                return
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, exist_ok=True)
            version = max([0, *(int(file.stem.rsplit("-", 1)[1]) for file in self._files(one))]) + 1
            await one.container.save(self._file(one, version))
        except (OSError, TimeoutError, SandboxError) as error:
            self._journal.show(
                Noted(level="warning", text=f"The data of {one.service.name} could not be kept at this point: {error}")
            )
            return
        one.mark, one.version = mark, version

    async def _load(self, one: _Running, version: int) -> None:
        one.ready.clear()
        try:
            await self._bring_up(one, new=not version, state=self._file(one, version) if version else None)
        except SandboxError as error:
            self._lost = SandboxLost(f"The data of {one.service.name} could not be put back. {error}")
            one.ready.set()
            raise self._lost from error
        one.version = version

    async def _differs(self, one: _Running, versions: Mapping[str, int]) -> bool:
        try:
            return one.version != versions[one.service.name] or await one.service.mark(self._sandbox) != one.mark
        except (OSError, TimeoutError):
            return True

    def _file(self, one: _Running, version: int) -> Path:
        return self._folder / f"{one.service.name}-{version}.gz"

    def _files(self, one: _Running) -> list[Path]:
        named = re.compile(rf"{re.escape(one.service.name)}-\d+\.gz")
        return [file for file in self._folder.glob("*.gz") if named.fullmatch(file.name)]


@asynccontextmanager
async def open_services(
    guard: Guard, wanted: Sequence[Service], sandbox: Sandbox, folder: Path, purpose: Literal["work", "proof"],
    journal: Journal,
) -> AsyncIterator[Services]:  # fmt: skip
    """Start all in the engine of `guard`, ready at the beginning of the block and removed at its end. Raises
    SandboxError, and ConfigError where they cannot be had here. `folder` is made when it is needed."""
    if sandbox.place.backend != "docker":
        raise ConfigError(
            f"Services ({', '.join(service.name for service in wanted)}) are containers, and this sandbox is "
            f"{sandbox.place.backend}. Start a Docker engine (systemctl start docker) and run --sandbox docker, or "
            "go without --services and --compose, and let the work and its checks use SQLite."
        )
    client = await in_thread(guard.connect)
    try:
        containers = [ServiceContainer(client, guard, sandbox.place.id, service) for service in wanted]
        services = Services(sandbox, containers, folder, journal)
        try:
            try:
                await services.start(purpose)
            except BaseExceptionGroup as failures:
                expected, bugs = failures.split((SandboxError, ConfigError))
                raise failures if bugs or not expected else expected.exceptions[0] from None
            yield services
        finally:
            await in_full(services.close())
    finally:
        client.close()
