"""A batch on two engines: the machine's own, and one of the test's own that goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.docker.engine import Engine, second_engine
from tests.e2e.batching import SCRIPTS, WRITE, Bench, ended, left_behind
from tests.repositories import git

from dockwright.batch.control import ask
from dockwright.events import RunStarted
from dockwright.journal import read
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

pytestmark = pytest.mark.docker
WAIT = tool_use("Bash", {"command": "until test -e /tmp/go; do sleep 0.1; done"})
SLOW = (Turn([WRITE]), Turn([WAIT]), *SCRIPTS["works"][1:])
ITS_OWN = {
    "id",
    "run",
    "attempt",
    "resumed",
    "node",
    "branch",
    "commit",
    "patch",
    "checks",
    "started",
    "seconds",
    "task_sha256",
}


async def until(bench: Bench, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The state of the batch once it holds for it."""
    async with asyncio.timeout(120):
        while not holds(state := await ask(bench.out, {"do": "list"})):
            await asyncio.sleep(0.1)
    return state


def at_work(state: dict[str, Any]) -> dict[str, str]:
    """Where each running task is."""
    return {task["id"]: task.get("node", "") for task in state["tasks"] if task["state"] == "running"}


def verified(state: dict[str, Any]) -> set[str]:
    return {task["id"] for task in state["tasks"] if task["state"] == "verified"}


def run_of(bench: Bench, task: str) -> str:
    events = read(bench.out / task / "journal.jsonl")
    return next(event.run for event in events if isinstance(event, RunStarted))


def release(bench: Bench, engine: Engine, tasks: dict[str, str]) -> None:
    for task, node in tasks.items():
        command = ("exec", f"dockwright-{run_of(bench, task)}", "sh", "-c", ": > /tmp/go")
        if node == "there":
            engine.docker(*command)
        else:
            subprocess.run(["docker", *command], check=True)


@pytest.fixture(scope="module")
async def engine() -> AsyncIterator[Engine]:
    """The other one, which is the context "there". It has nothing but our runtime."""
    async with second_engine(Path(tempfile.mkdtemp(prefix="dw-")), "dockwright/runtime:latest") as engine:
        yield engine


def new_bench(folder: Path, engine: Engine, api: ScriptedApi) -> Bench:
    (folder / "shell.tar").write_bytes(engine.shell_archive())
    create = ["docker", "context", "create", "there", "--docker", f"host={engine.host}"]
    subprocess.run(create, env={"HOME": str(folder / "home"), "PATH": os.environ["PATH"]}, check=True)
    return Bench(folder, "docker", api)


async def test_an_engine_without_the_images_is_named_with_the_remedy_and_nothing_starts(
    tmp_path: Path, engine: Engine
) -> None:
    async with ScriptedApi(scripts=SCRIPTS) as api:
        bench = new_bench(tmp_path, engine, api)
        bench.write_tasks(("a", "works", {"services": ["redis"]}), ("b", "works", {"image": "shell.tar"}))
        missing = "dockwright/services:latest dockwright/workbench:latest"
        assert await bench.run("--on", f"docker:default,there,unix://{tmp_path}/none.sock") == (
            2, "", (
                "error: Some engines cannot be used, so nothing was started.\n"
                f"there: it has no {missing}: docker save {missing} | docker -H {engine.host} load\n"
                f"unix://{tmp_path}/none.sock: No Docker engine answered at unix://{tmp_path}/none.sock: "
                "No such file or directory. Start it, or do without it.\n"
            ),
        )  # fmt: skip
        assert (bench.asked(), engine.docker("ps", "-aq").stdout) == ({}, b"")


async def test_tasks_of_an_engine_that_is_killed_move_to_another_and_it_is_used_again_when_it_is_back(
    tmp_path: Path, engine: Engine
) -> None:
    async with ScriptedApi(scripts={**SCRIPTS, "slow": SLOW}) as api:
        bench = new_bench(tmp_path, engine, api)
        bench.write_tasks(*((f"t{number}", "slow", {"image": "shell.tar"}) for number in range(6)))
        process = await bench.start("-j", "4", "--on", "docker:default,there")
        await bench.until_asked(t0=2, t1=2, t2=2, t3=2)
        before = at_work(await ask(bench.out, {"do": "pause"}))
        runs = {run_of(bench, task) for task in before}
        assert Counter(before.values()) == {"default": 2, "there": 2}

        await engine.kill()
        moved = {task for task, node in before.items() if node == "there"}
        state = await until(bench, lambda state: verified(state) == moved)
        assert [node["answers"] for node in state["nodes"]] == [True, False]
        stayed = dict.fromkeys(before.keys() - moved, "default")
        assert at_work(state) == stayed

        await engine.start()
        await until(bench, lambda state: all(node["answers"] for node in state["nodes"]))
        await ask(bench.out, {"do": "jobs", "jobs": 6})
        await ask(bench.out, {"do": "go"})
        await bench.until_asked(t4=2, t5=2)
        last = at_work(await ask(bench.out, {"do": "list"}))
        assert last == {**stayed, "t4": "there", "t5": "there"}
        release(bench, engine, last)
        code, out, err = await ended(process)

        lines = bench.results()
        assert (code, err, out.count("[again/6]")) == (0, "", 2)
        assert {line.id: (line.node, line.attempt) for line in lines} == {
            **dict.fromkeys(moved, ("default", 2)), **{task: (node, 1) for task, node in last.items()},
        }  # fmt: skip
        assert bench.asked() == dict.fromkeys((line.id for line in lines), 4)
        same = {line.model_dump_json(exclude=ITS_OWN) for line in lines}
        patches = {(bench.out / str(line.patch)).read_text() for line in lines}
        trees = {git(bench.repo, "rev-parse", f"{line.branch}^{{tree}}") for line in lines}
        checks = {(check.command, check.exit_code) for line in lines for check in line.checks}
        assert (len(same), len(patches), len(trees), checks) == (1, 1, 1, {("test -e made.txt", 0)})
        assert left_behind([*runs, *(line.run for line in lines)]) == []
        assert engine.docker("ps", "-aq").stdout == b""
        volumes = engine.docker("volume", "ls", "--format", "{{.Name}}").stdout.decode().split()
        assert not [name for name in volumes if any(run in name for run in runs)]
        assert engine.docker("images", "--format", "{{.Repository}}").stdout == b"dockwright/runtime\n"


async def test_tasks_of_an_engine_that_never_answers_again_move_and_what_is_left_there_is_told(
    tmp_path: Path, engine: Engine
) -> None:
    async with ScriptedApi(scripts={**SCRIPTS, "slow": SLOW}) as api:
        bench = new_bench(tmp_path, engine, api)
        bench.write_tasks(*((f"t{number}", "slow", {"image": "shell.tar"}) for number in range(2)))
        process = await bench.start("--on", "docker:default,there")
        await bench.until_asked(t0=2, t1=2)
        assert at_work(await ask(bench.out, {"do": "list"})) == {"t0": "default", "t1": "there"}

        engine.wedge()
        try:
            await until(bench, lambda state: verified(state) == {"t1"})
            release(bench, engine, {"t0": "default"})
            code, out, err = await ended(process)
        finally:
            engine.wedge(wedged=False)

        assert (code, err, bench.statuses()) == (0, "", {"t0": "verified", "t1": "verified"})
        gone = "did not answer. What it may still have of this batch goes away with:"
        assert f"there {gone} DOCKER_HOST={engine.host} dockwright gc\n" in out
        assert engine.docker("ps", "-aq").stdout != b""
        collected = await bench.start(command=("gc",), DOCKER_HOST=engine.host, TMPDIR=str(tmp_path))
        code, _, err = await ended(collected)
        assert (code, err, engine.docker("ps", "-aq").stdout) == (0, "", b"")
