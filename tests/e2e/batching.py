"""Batches from the command line: the real process, real sandboxes, real git, and a scripted model on loopback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.repositories import new_repository

from dockwright.batch import ResultLine
from dockwright.events import Answered
from dockwright.journal import read
from dockwright.testing.scripted_api import Fault, Script, ScriptedApi, Turn, text, tool_use

PERSONA = "---\nname: smith\ndescription: builds things\nmodel: haiku\n---\nYou build things.\n"
REPORT = tool_use("SubmitReport", {"summary": "It is done.", "changes": ["made.txt was made"]})
WRITE = tool_use("Write", {"file_path": "/workspace/made.txt", "content": "made\n"})
STALL = (Fault("stall", at="start", seconds=600),)
WORKS: Script = (Turn([WRITE]), Turn([REPORT]), "Done.")
STEPS = [Turn([tool_use("Bash", {"command": f"echo {number} >> made.txt"})]) for number in range(4)]
SCRIPTS: dict[str, Script] = {
    "steps": (*STEPS, *WORKS[1:]),
    "stalls-at-2": (STEPS[0], replace(STEPS[1], faults=STALL), *STEPS[2:], *WORKS[1:]),
    "stalls-at-4": (*STEPS[:3], replace(STEPS[3], faults=STALL), *WORKS[1:]),
    "works": WORKS,
    "silent": (Turn([WRITE]), "Done.", "Really done."),
    "endless": [Turn([tool_use("Bash", {"command": f"echo {number} >> made.txt"})]) for number in range(9)],
    "refuses": (Turn([WRITE]), Turn([text("No.")], stop_reason="refusal")),
    "stalls-once": (Turn([WRITE]), Turn([REPORT], faults=STALL), "Done."),
    "stalls": (Turn([WRITE]), Turn([REPORT], faults=STALL * 9), "Done."),
    "dies-once": (Turn([WRITE], faults=(Fault("http", status=400, error="invalid_request_error"),)), *WORKS[1:]),
}
UNBROKEN: dict[str, Script] = {
    name: [replace(turn, faults=()) if isinstance(turn, Turn) else turn for turn in script]
    for name, script in SCRIPTS.items()
}


class Bench:
    """A folder with a repository, a persona and a task file, and the command to work on it."""

    def __init__(self, folder: Path, backend: str, api: ScriptedApi) -> None:
        self.folder, self.out, self.repo = folder, folder / "out", new_repository(folder / "repo")
        self._backend, self._api = backend, api
        (folder / "smith.md").write_text(PERSONA)

    def write_tasks(self, *tasks: tuple[str, str, dict[str, Any]]) -> None:
        """Each an id, the name of a script, and more fields. The id is in the prompt, so that requests tell it."""
        lines = [
            {"id": id_, "prompt": f"Task <{id_}>. [[script:{script}]]", "check": "test -e made.txt", **more}
            for id_, script, more in tasks
        ]
        (self.folder / "tasks.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    async def start(self, *flags: str, command: Sequence[str] | None = None, **more: str) -> Process:
        """`command` in place of the batch of the task file, `more` in the environment."""
        usual = (
            "batch", "tasks.jsonl", "--out", "out", "-C", "repo", "-a", "smith.md", "--sandbox", self._backend, "--net",
            "none",
        )  # fmt: skip
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "ANTHROPIC_BASE_URL": self._api.url,
            "ANTHROPIC_API_KEY": "sk-test", "COLUMNS": "200",
        } | {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}  # fmt: skip
        return await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("dockwright")), *(usual if command is None else command), *flags,
            cwd=self.folder, env=env | more, stdout=PIPE, stderr=PIPE, start_new_session=True,
        )  # fmt: skip

    async def run(self, *flags: str, command: Sequence[str] | None = None) -> tuple[int | None, str, str]:
        return await ended(await self.start(*flags, command=command))

    def results(self) -> list[ResultLine]:
        return [ResultLine.model_validate_json(line) for line in (self.out / "results.jsonl").read_bytes().splitlines()]

    def patch(self, line: ResultLine) -> bytes:
        return (self.out / str(line.patch)).read_bytes()

    def statuses(self) -> dict[str, str]:
        return {line.id: line.status for line in self.results()}

    def asked(self) -> Counter[str]:
        """How many requests each task has made."""
        return Counter(id_ for id_, _ in self.requests())

    def requests(self) -> list[tuple[str, int]]:
        """The task of each request, and which of its turns was asked for, from 0."""
        found = []
        for request in self._api.requests:
            first, *more = request.body["messages"]
            id_ = json.dumps(first).partition("Task <")[2].partition(">")[0]
            found.append((id_, sum(message["role"] == "assistant" for message in more)))
        return found

    def answered(self) -> Counter[str]:
        """How many answers each task has in its journal."""
        found = Counter[str]()
        for path in self.out.glob("*/journal.jsonl"):
            found[path.parent.name] = sum(isinstance(event, Answered) for event in read(path))
        return found

    async def until_asked(self, **wanted: int) -> None:
        async with asyncio.timeout(30):
            while not self.asked() >= Counter(wanted):
                await asyncio.sleep(0.02)


def plain(line: ResultLine) -> object:
    """But for times, ids and how often it was taken up."""
    varying = {"run", "started", "seconds", "branch", "commit", "repo", "task_sha256", "resumed"}
    told = line.model_dump(mode="json", exclude=varying)
    return told | {"checks": [{**check, "seconds": 0} for check in told["checks"]]}


async def ended(process: Process) -> tuple[int | None, str, str]:
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


def left_behind(runs: Sequence[str]) -> list[str | None]:
    """Containers and volumes of these runs."""
    import docker

    client = docker.from_env()
    try:
        names = [container.name for container in client.containers.list(all=True, ignore_removed=True)]
        names += (volume.attrs["Name"] for volume in client.volumes.list())
        return [name for name in names if any(run in str(name) for run in runs)]
    finally:
        client.close()
