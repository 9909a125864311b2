"""The command line as a user has it, against the scripted API: a process, its exit code, what it printed and left."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dockwright.sandbox.engine import LABEL, connect
from dockwright.testing.scripted_api import Script, ScriptedApi, Turn, tool_use

PROGRAM = str(Path(sys.executable).parent / "dockwright")
KEY = "sk-ant-not-a-real-key-0123456789"
PERSONA = """---
name: smith
description: Writes small programs
tools: {tools}
---
You write small programs.

## Return Format

```
PROGRAM:
- Language: [which]
- Entry Point: [how it is started]
```
"""
REPORT = tool_use("SubmitReport", {"summary": "A program.", "program": {"language": "sh", "entry_point": "sh app.sh"}})
WRITE = tool_use("Write", {"file_path": "/workspace/app.sh", "content": "echo hello\n"})
WORK: list[Turn | str] = [Turn([WRITE]), Turn([REPORT]), "Done."]


@dataclass
class Desk:
    """A user's machine in a folder: a repository with a commit, a persona, and folders for configuration and state."""

    folder: Path
    tools: str = "Read, Write, Edit, MultiEdit, Bash, Grep, Glob, WebSearch"
    env: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()  # a program that runs ours, as another user say
    backend: str = "docker"  # costs more, so it is for what has to do with an engine

    def __post_init__(self) -> None:
        self.repo = self.folder / "repo"
        self.repo.mkdir()
        (self.folder / "smith.md").write_text(PERSONA.format(tools=self.tools))
        self.git("init", "-q", "-b", "main")
        (self.repo / "README.md").write_text("A shop.\n")
        self.git("add", ".")
        self.git("-c", "user.name=U", "-c", "user.email=u@example.invalid", "commit", "-q", "-m", "Start")

    @property
    def runs(self) -> list[Path]:
        return sorted((self.folder / "state" / "dockwright" / "runs").glob("*"))

    def git(self, *command: str) -> str:
        return subprocess.run(["git", *command], cwd=self.repo, capture_output=True, text=True, check=True).stdout

    def tree(self) -> dict[str, bytes]:
        """Every file below the repository but what a delivered branch adds to .git."""
        kept = (path for path in self.repo.rglob("*") if path.is_file())
        names = ((str(path.relative_to(self.repo)), path) for path in kept)
        return {
            name: path.read_bytes()
            for name, path in names
            if not name.startswith((".git/objects/", ".git/refs/heads/dockwright/"))
        }

    async def start(self, api: ScriptedApi | None, *arguments: str) -> asyncio.subprocess.Process:
        base = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
        base |= {f"XDG_{name}_HOME": str(self.folder / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
        if api is not None:
            base |= {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": KEY}
        return await asyncio.create_subprocess_exec(
            *self.prefix, PROGRAM, *arguments, cwd=self.folder, env={**base, **self.env},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

    async def call(self, api: ScriptedApi | None, *arguments: str) -> tuple[int, str]:
        process = await self.start(api, *arguments)
        async with asyncio.timeout(240):
            output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def run(self, script: Script, *arguments: str, backend: str = "", **api: Any) -> tuple[int, str]:
        """`dockwright run` on the repository with the persona, without network unless asked otherwise."""
        async with ScriptedApi(script, **api) as server:
            return await self.call(server, *self.arguments(backend or self.backend, *arguments))

    def arguments(self, backend: str, *more: str) -> tuple[str, ...]:
        where = ("-C", str(self.repo), "-a", str(self.folder / "smith.md"))
        return ("run", *where, "--sandbox", backend, "--net", "none", *more, "Write a program.")

    async def interrupt(self, script: Script, when: Callable[[ScriptedApi], bool], *arguments: str) -> tuple[int, str]:
        """Like `run`, with a Ctrl-C once `when` holds."""
        async with ScriptedApi(script) as server:
            process = await self.start(server, *self.arguments("docker", *arguments))
            async with asyncio.timeout(120):
                while not when(server):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.5)
                process.send_signal(signal.SIGINT)
                output, _ = await process.communicate()
            return process.returncode or 0, output.decode()


def leftovers(run: str) -> list[str]:
    """What there still is of a run and its proof: containers, volumes, networks, processes, temporary files."""
    client = connect()
    try:
        mine: dict[str, str | list[str] | bool] = {"label": LABEL}
        containers = [
            thing.name or "?" for thing in client.containers.list(all=True, filters=mine, ignore_removed=True)
        ]
        volumes = [thing.name or "?" for thing in client.volumes.list(filters=mine)]
        networks = [thing.name or "?" for thing in client.networks.list(filters=mine)]
        files = [str(path) for path in Path(tempfile.gettempdir()).glob(f"dockwright-*{run}*")]
        return [name for name in (*containers, *volumes, *networks, *files, *_processes()) if run in name]
    finally:
        client.close()


def _processes() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone meanwhile
            yield path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
