"""What the engines that a batch was told to work on must have before it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from dockwright.batch.attempt import configured
from dockwright.batch.node import Local
from dockwright.config import Config
from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox.docker import RUNTIME_IMAGE, WORKBENCH
from dockwright.sandbox.images import is_archive
from dockwright.services import services_of
from dockwright.services.kinds import IMAGE
from dockwright.tasks import ListedTask


async def check_engines(nodes: Sequence[Local], wanted: set[str], *, ray: bool) -> None:
    """Raises ConfigError saying which engines do not answer, and which lack images and how they get them. `ray` where
    they are those of the nodes of a cluster."""

    async def fault_of(node: Local) -> str:
        try:
            missing = " ".join(await node.images.missing(sorted(wanted)))
        except SandboxError as error:
            return str(error)
        docker = f"ssh {node.name} docker" if ray else f"docker -H {node.guard.address}"
        return missing and f"it has no {missing}: docker save {missing} | {docker} load"

    faults = await asyncio.gather(*map(fault_of, nodes))
    if any(faults):
        told = "\n".join(f"{node.name}: {fault}" for node, fault in zip(nodes, faults, strict=True) if fault)
        raise ConfigError(f"Some engines cannot be used, so nothing was started.\n{told}")


def images_of(tasks: Sequence[ListedTask], config: Config, *, pull: bool) -> set[str]:
    """What an engine must have for these tasks, but for what is brought."""
    wanted = {RUNTIME_IMAGE}
    for task in tasks:
        sandbox = configured(task, config).sandbox
        wanted |= {IMAGE, *(service.image for service in services)} if (services := services_of(sandbox)) else set()
        if sandbox.image is None:
            wanted.add(WORKBENCH)
        elif not pull and not is_archive(sandbox.image):
            wanted.add(sandbox.image)
    return wanted
