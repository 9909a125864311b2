"""A sandbox as it should not be, for attacks to succeed in: root with what makes root mighty, no filter, no limits, and
commands by plain `docker exec`, which nobody reaps. What works here and not in ours is what ours holds."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.conftest import WORKBENCH

from dockwright.errors import SandboxError
from dockwright.sandbox.engine import LABEL, OWNER, connect, in_thread
from dockwright.sandbox.owner import owner

MIGHTY = [
    "SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "NET_RAW", "SYS_MODULE", "SYS_RAWIO", "SYS_TTY_CONFIG", "DAC_READ_SEARCH",
    "SYS_CHROOT", "SYSLOG",
]  # fmt: skip


@dataclass
class Careless:
    container: Any

    async def run(self, argv: Sequence[str], seconds: float = 60) -> tuple[int | None, bytes]:
        """Exit code and output; no exit code after `seconds`, when it is simply waited for no more."""
        try:
            return await in_thread(lambda: self._exec(list(argv)), seconds)
        except SandboxError:
            return None, b""

    def _exec(self, argv: list[str]) -> tuple[int, bytes]:
        """The output may end before the engine has written down how the program did."""
        api = self.container.client.api
        made = api.exec_create(self.container.id, argv, workdir="/workspace")["Id"]
        output: bytes = api.exec_start(made)
        while (state := api.exec_inspect(made))["Running"]:
            time.sleep(0.01)
        return state["ExitCode"], output

    async def sh(self, script: str, seconds: float = 60) -> tuple[int | None, bytes]:
        return await self.run(["sh", "-c", script], seconds)


@asynccontextmanager
async def careless_sandbox(**settings: object) -> AsyncIterator[Careless]:
    client = connect()
    labels = {LABEL: "careless", OWNER: owner()}
    wide: dict[str, Any] = {
        "user": "0:0", "cap_add": MIGHTY, "security_opt": ["seccomp=unconfined"], "network_mode": "none",
    }  # fmt: skip
    name = f"dockwright-careless-{uuid.uuid4().hex[:8]}"
    try:
        container = await asyncio.to_thread(
            client.containers.create, WORKBENCH, ["sleep", "infinity"], name=name, labels=labels, init=True,
            **(wide | settings),
        )  # fmt: skip
        try:
            await asyncio.to_thread(container.start)
            yield Careless(container)
        finally:
            await asyncio.to_thread(container.remove, force=True, v=True)
    finally:
        client.close()
