"""Each kind of sandbox, started for a moment: whether it works, whether it holds, and how much room there is in it."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from dockwright.doctor.lines import Line, disk
from dockwright.sandbox import Place, Sandbox, open_sandbox
from dockwright.sandbox.boundary import probe_boundary
from dockwright.sandbox.bubblewrap import Bubblewrap
from dockwright.sandbox.docker import WORKBENCH, Docker

SECONDS = 8
_ROOM = "import os; s = os.statvfs('/workspace'); print(s.f_bavail * s.f_frsize)"


async def examine_docker() -> AsyncIterator[Line]:
    async for line in _try("docker", Docker(WORKBENCH, f"doctor-{secrets.token_hex(4)}")):
        yield line


async def examine_bubblewrap(root: Path) -> AsyncIterator[Line]:
    program = shutil.which("bwrap")
    if program is None:
        yield Line("warn", "bubblewrap", "not there. It is the sandbox where no engine is: apt-get install bubblewrap")
        return
    if missing := _missing(root):
        cure = "apt-get install python3 git ripgrep"
        yield Line("warn", "bubblewrap", f"needs {', '.join(missing)} under /usr/bin: {cure}")
        return
    async for line in _try("bubblewrap", Bubblewrap(root, f"doctor-{secrets.token_hex(4)}")):
        yield line


def _missing(root: Path) -> list[str]:
    """What this machine's own /usr lacks, where that is the root file system."""
    needed = ("python3", "git", "rg") if root == Path("/") else ()
    return [name for name in needed if not Path("/usr/bin", name).exists()]


async def _try(what: str, place: Place) -> AsyncIterator[Line]:
    try:
        async with asyncio.timeout(SECONDS), open_sandbox(place) as sandbox:
            if leak := await _leak(sandbox):
                yield Line("fail", what, f"it starts, but does not hold: {leak}. Do not use it; see SECURITY.md.")
                return
            yield Line("ok", what, f"{place.image}: starts and holds")
            done = await sandbox.python(_ROOM)
            cure = "Make room: docker system df, dockwright gc." if what == "docker" else "Make room in TMPDIR."
            yield disk(f"{what} disk", int(done.stdout), "in its workspace", cure, least=500 << 20, enough=5 << 30)
    except TimeoutError:
        yield Line("fail", what, f"it did not start within {SECONDS} s. Is the machine overloaded? {_cure(what)}")
    except Exception as error:  # noqa: BLE001 - whatever goes wrong is what was looked for
        yield Line("fail", what, f"it does not start: {error} {_cure(what)}")


def _cure(what: str) -> str:
    if what == "docker":
        return "Look at journalctl -u docker."
    return "Where user namespaces are forbidden: sysctl kernel.apparmor_restrict_unprivileged_userns=0."


async def _leak(sandbox: Sandbox) -> str:
    found = await probe_boundary(sandbox)
    return "; ".join(f"{name}: {found.outcomes[name]}" for name in found.leaks)
