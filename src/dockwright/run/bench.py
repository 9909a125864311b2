"""A sandbox as it was configured, with its way out: what work and proof happen in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dockwright.config import SandboxSettings
from dockwright.errors import SandboxError
from dockwright.events import NetworkAsked, Noted, SandboxStarted
from dockwright.journal import Journal
from dockwright.sandbox import Place, Sandbox, open_sandbox
from dockwright.sandbox.bubblewrap import WEAKNESS, Bubblewrap
from dockwright.sandbox.docker import WORKBENCH, Docker
from dockwright.sandbox.engine import connect
from dockwright.sandbox.gateway import Policy, open_gateway
from dockwright.tools.base import SearchBackend


@dataclass(frozen=True)
class Host:
    """What of the host a run may use: the root file system for bubblewrap, the CA bundle for the sandbox, and where
    WebSearch looks, if not where the configuration says."""

    root: Path = Path("/")
    ca_file: Path | None = None
    search: SearchBackend | None = None


def policy_of(settings: SandboxSettings) -> Policy:
    return Policy.parse((settings.network,) if isinstance(settings.network, str) else settings.network)


@asynccontextmanager
async def open_bench(
    settings: SandboxSettings, host: Host, name: str, purpose: Literal["work", "proof"], journal: Journal
) -> AsyncIterator[Sandbox]:
    """A sandbox as it was configured, with its way out. Raises SandboxError; nothing falls back to less isolation
    than was asked for."""
    began = time.monotonic()
    policy = policy_of(settings)
    place = await choose_place(settings, host, name)
    async with open_sandbox(place) as sandbox:
        sandbox = replace(sandbox, network=str(policy))
        if not policy.open:  # npm would try for a minute what cannot come
            sandbox = replace(sandbox, env={**sandbox.env, "NPM_CONFIG_FETCH_RETRIES": "0"})
        else:
            ca = await asyncio.to_thread(host.ca_file.read_bytes) if host.ca_file else None
            sandbox = replace(sandbox, env={**sandbox.env, **await open_gateway(sandbox, policy, _once(journal), ca)})
        await journal.append(
            SandboxStarted(
                purpose=purpose, backend=place.backend, id=place.id, image=place.image, network=str(policy),
                seconds=time.monotonic() - began,
            )
        )  # fmt: skip
        if place.backend == "bubblewrap" and purpose == "work":
            journal.show(Noted(level="warning", text=WEAKNESS))
        yield sandbox


def _once(journal: Journal) -> Callable[[str, int, str | None], None]:
    """What the gateway decided, noted at the first time: package managers ask for one host a thousand times."""
    known: set[tuple[str, int, str | None]] = set()

    def asked(host: str, port: int, denied: str | None) -> None:
        if (host, port, denied) not in known:
            known.add((host, port, denied))
            journal.show(NetworkAsked(host=host, port=port, denied=denied))

    return asked


async def choose_place(settings: SandboxSettings, host: Host, name: str) -> Place:
    """Docker where an engine answers or was asked for, else bubblewrap, unless what was asked for needs an engine."""
    docker = Docker(
        settings.image or WORKBENCH, name, memory=settings.memory, cpus=settings.cpus,
        pids=settings.pids, oci_runtime=settings.oci_runtime,
    )  # fmt: skip
    if settings.backend == "docker":
        return docker
    if settings.backend == "auto":
        try:
            client = await asyncio.to_thread(connect)
            client.close()
            return docker
        except SandboxError:
            if settings.image or settings.oci_runtime:
                raise
    return Bubblewrap(host.root, name, pids=settings.pids)
