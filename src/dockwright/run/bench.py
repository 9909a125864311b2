"""A sandbox as it was configured, with its way out: what work and proof happen in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from dockwright.config import SandboxSettings
from dockwright.connection import Connection
from dockwright.errors import SandboxError
from dockwright.events import BoundaryTested, NetworkAsked, Noted, SandboxStarted
from dockwright.gate.pace import Pace
from dockwright.gate.purse import Purse
from dockwright.journal import Journal
from dockwright.redaction import Redaction
from dockwright.sandbox import WORKSPACE, Place, Sandbox, open_sandbox
from dockwright.sandbox.boundary import probe_boundary
from dockwright.sandbox.bubblewrap import Bubblewrap
from dockwright.sandbox.dial import KNOWN_SECONDS, NO_PROXIES, Names, Proxies, Route
from dockwright.sandbox.docker import WORKBENCH, Docker
from dockwright.sandbox.gateway import open_gateway
from dockwright.sandbox.guard import Guard
from dockwright.sandbox.policy import Policy
from dockwright.services import Services, open_services, services_of
from dockwright.services.setup import ARCHIVE, REPOSITORY
from dockwright.tools.base import SearchBackend
from dockwright.workspace import Workspace, snapshot

Snapshot = Callable[[Path, Path, str | None, Sequence[str]], Awaitable[Workspace]]


@dataclass(frozen=True)
class Shared:
    """What many runs of one process share: the connection to the model API, its pace, and the money for all of them;
    the engine with what is held while it starts or removes something, and who takes snapshots."""

    connection: Connection | None = None
    pace: Pace | None = None
    purse: Purse | None = None
    engine: Guard = field(default_factory=partial(Guard, waits=False))
    snapshot: Snapshot = snapshot


@dataclass(frozen=True)
class Host:
    """What of the host a run may use: the root file system for bubblewrap, the CA bundle for the sandbox, the proxies
    that lead out of here, where WebSearch looks, if not where the configuration says, what must not be written, and
    the name and mail that the delivered commit carries. `shared` is what other
    runs use at the same time."""

    root: Path = Path("/")
    ca_file: Path | None = None
    proxies: Proxies = NO_PROXIES
    search: SearchBackend | None = None
    redaction: Redaction = field(default_factory=Redaction)
    author: tuple[str, str] | None = None
    shared: Shared = field(default_factory=Shared)


@dataclass
class Bench(Sandbox):
    """A sandbox with the services that run beside it."""

    services: Services | None = None


def policy_of(settings: SandboxSettings) -> Policy:
    return Policy.parse((settings.network,) if isinstance(settings.network, str) else settings.network)


@asynccontextmanager
async def open_bench(
    settings: SandboxSettings,
    host: Host,
    name: str,
    purpose: Literal["work", "proof"],
    journal: Journal,
    again: bool = False,
) -> AsyncIterator[Bench]:
    """A sandbox as it was configured, with its way out and new services; `again` takes over what is left of a sandbox.
    Raises SandboxError; nothing falls back to less isolation than was asked for."""
    began, wanted = time.monotonic(), services_of(settings)
    policy = policy_of(settings)
    place = await choose_place(settings, host, name, again=again)
    async with open_sandbox(place) as sandbox:
        sandbox = replace(sandbox, network=str(policy))
        await _prove_closed(sandbox, purpose, journal)
        sandbox.asked.tell = lambda target, denied, call: journal.show(
            NetworkAsked(host=target.host, port=target.port, denied=denied, call=call)
        )
        if not policy.open:  # npm would try for a minute what cannot come
            sandbox = replace(sandbox, env={**sandbox.env, "NPM_CONFIG_FETCH_RETRIES": "0"})
        else:
            ca = await asyncio.to_thread(host.ca_file.read_bytes) if host.ca_file else None
            route = Route(policy, host.proxies, Names(failure_seconds=KNOWN_SECONDS if host.proxies.env else 0))
            sandbox = replace(sandbox, env={**sandbox.env, **await open_gateway(sandbox, route, ca)})
        await journal.append(
            SandboxStarted(
                purpose=purpose, backend=place.backend, id=place.id, image=place.image, network=str(policy),
                seconds=time.monotonic() - began, found=place.found,
            )
        )  # fmt: skip
        if isinstance(place, Bubblewrap) and purpose == "work":
            journal.show(Noted(level="warning", text=place.weakness))
        if place.image.startswith(f"{REPOSITORY}:") and not again:
            unpack = f"[ ! -f {ARCHIVE} ] || tar -xf {ARCHIVE} -C {WORKSPACE}"
            done = await sandbox.exec([sandbox.shell, "-c", unpack], timeout=600, merge=True)
            if done.exit_code:
                raise SandboxError(f"What the setup left in the workspace cannot be unpacked: {done.stdout.decode()}")
        bench = Bench(**{**vars(sandbox), "env": {**sandbox.env, **settings.env}})
        async with AsyncExitStack() as stack:
            if wanted:
                folder = journal.path.parent / "services"
                services = await stack.enter_async_context(
                    open_services(host.shared.engine, wanted, sandbox, folder, purpose, journal)
                )
                bench = replace(bench, services=services, env={**bench.env, **services.env})
            yield bench
            if bench.services and purpose == "proof":
                await bench.services.word()  # one that could not be brought back is no verdict on the work


async def _prove_closed(sandbox: Sandbox, purpose: Literal["work", "proof"], journal: Journal) -> None:
    """Raises BoundaryError where there is a way out, after the journal knows of it."""
    found = await probe_boundary(sandbox)
    await journal.append(
        BoundaryTested(
            purpose=purpose, outcomes=dict(found.outcomes), leaks=found.leaks, seconds=found.seconds
        )
    )  # fmt: skip
    found.raise_for_leaks(sandbox)


async def choose_place(settings: SandboxSettings, host: Host, name: str, *, again: bool = False) -> Place:
    """Docker where an engine answers or was asked for, else bubblewrap, unless what was asked for needs an engine."""
    docker = Docker(
        settings.image or WORKBENCH, name, memory=settings.memory, cpus=settings.cpus,
        pids=settings.pids, disk=settings.disk, inodes=settings.inodes, oci_runtime=settings.oci_runtime, again=again,
        guard=host.shared.engine,
    )  # fmt: skip
    if settings.backend == "docker":
        return docker
    if settings.backend == "auto":
        try:
            client = await asyncio.to_thread(host.shared.engine.connect)
            client.close()
            return docker
        except SandboxError:
            if settings.image or settings.oci_runtime:
                raise
    return Bubblewrap(
        host.root, name, memory=settings.memory, pids=settings.pids, disk=settings.disk, inodes=settings.inodes,
        again=again,
    )  # fmt: skip
