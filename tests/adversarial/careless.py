"""Counterparts without care: what each attack of this folder must get through, so that a test which holds it means
something.

The pattern of a file `test_<danger>.py`: the attack, written once as a function or a script; a test that dockwright
holds it; a test that the same attack gets through here. An attack on a limit goes a little over it and stops: the
careless container has no limits, and the machine is real. What it spoils must be its own (a folder of the test).
"""

from __future__ import annotations

import asyncio
import html
import io
import os
import subprocess
import tarfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from docker.models.containers import Container

from dockwright.sandbox import Sandbox
from dockwright.sandbox.engine import LABEL, OWNER, connect
from dockwright.sandbox.owner import owner

IMAGE = "dockwright/workbench:latest"
CAPABILITIES = ["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "NET_RAW", "DAC_READ_SEARCH"]  # all of them is more than a
# machine that is itself a container has to give, which `privileged=True` would ask for
HOST_FOLDER = "/host"  # where the careless container has the host's folder
SOCKET = Path(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))


class Shell(Protocol):
    """Runs a script somewhere and returns all that it printed, whatever its exit code."""

    async def __call__(self, script: str, /) -> str: ...


def contained(sandbox: Sandbox, seconds: float = 60) -> Shell:
    """The shell that an agent has."""

    async def sh(script: str, /) -> str:
        done = await sandbox.exec(["sh", "-c", script], merge=True, timeout=seconds)
        return done.stdout.decode(errors="replace").strip()

    return sh


@asynccontextmanager
async def careless(folder: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[Shell]:
    """The shell of a container: root with capabilities, on the host's network, without limits or a system call filter,
    with `folder` and the engine's socket mounted and `env` passed on. `docker exec` is all: nothing is reaped."""
    container = await asyncio.to_thread(_launch, folder, dict(env or {}))

    async def sh(script: str, /) -> str:
        _, output = await asyncio.to_thread(container.exec_run, ["sh", "-c", script])
        return output.decode(errors="replace").strip() if isinstance(output, bytes) else ""

    try:
        yield sh
    finally:
        await asyncio.to_thread(_remove, container)


def _launch(folder: Path, env: dict[str, str]) -> Container:
    container = connect().containers.create(
        IMAGE, ["sleep", "infinity"], name=f"careless-{uuid.uuid4().hex[:12]}", user="0:0", init=True,
        labels={LABEL: "careless", OWNER: owner()}, network_mode="host", cap_add=CAPABILITIES,
        security_opt=["seccomp=unconfined"], environment=env,
        volumes=[f"{folder}:{HOST_FOLDER}", f"{SOCKET}:/var/run/docker.sock"],
    )  # fmt: skip
    try:
        container.start()
    except BaseException:
        _remove(container)
        raise
    return container


def _remove(container: Container) -> None:
    container.remove(force=True, v=True)
    if container.client is not None:
        container.client.close()


def git(repo: Path, *arguments: str) -> str:
    """Git as everybody types it, in a repository that somebody else wrote. Its words, whatever its exit code."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {f"GIT_{role}_{key}": "user@example.com" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
    done = subprocess.run(
        ["git", *arguments], cwd=repo, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout.decode(errors="replace")


def extract(archive: bytes, folder: Path) -> None:
    """What came out of a sandbox as a tar file, unpacked on the host."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extraction_filter = lambda member, _: member  # older ones know none, and take all anyway
        tar.extractall(folder)  # noqa: S202


def copy_into(repo: Path, files: Mapping[str, bytes]) -> None:
    """What came out of a sandbox as names and bytes, written below a folder of the host."""
    for name, data in files.items():
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def print_text(text: str) -> str:
    """What a terminal gets from `print(text)`."""
    return f"{text}\n"


def page(title: str) -> str:
    """A report as a template without thought makes it."""
    return f"<h1 title='{title}'>{title}</h1><p title=\"{title}\">{html.unescape(title)}</p>"


def child_environment() -> Mapping[str, str]:
    """What a child process of `subprocess.run([...])` is given."""
    return dict(os.environ)
