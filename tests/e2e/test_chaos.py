"""A run that is killed at every step, again and again, ends as one that never was: same files, same report, and no
answer and no finished call that was paid for twice."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import BACKENDS
from tests.e2e.patient import PatientApi, carried_out, was_interrupted
from tests.e2e.running import Desk, leftovers

from dockwright.events import SandboxStarted, ToolFinished, ToolStarted
from dockwright.journal import read
from dockwright.sandbox.engine import connect

CHECK = ("--check", "sh app.sh | grep eins && sh c.sh")
# After how many more events the process is killed: early, so that it gets nowhere, and late.
STEPS = {
    "docker": (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13),
    "bubblewrap": (3, 6, 9, 12, 15),
    "remove": (8, 13, 18),
    "stop": (9, 17),
    "runner": (7, 16, 25),
}
RUNNER = """
import os
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, os.getpid()) and os.stat(f"/proc/{name}").st_uid == 0:
        os.kill(int(name), 9)
"""


@dataclass(frozen=True)
class Outcome:
    """What must be the same however often a run was broken off."""

    code: int
    report: dict[str, Any]
    tree: str
    calls: list[tuple[str, ...]]


@pytest.fixture(scope="module", params=BACKENDS)
async def unbroken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Outcome]:
    desk = Desk(tmp_path_factory.mktemp("unbroken"))
    async with PatientApi() as api:
        code, said = await desk.call(api, *desk.arguments(request.param, *CHECK))
        assert (code, len(api.requests)) == (0, 12), said
        return request.param, outcome(desk, api, code)


def outcome(desk: Desk, api: PatientApi, code: int) -> Outcome:
    found = json.loads((desk.runs[-1] / "report.json").read_text())
    same = ("status", "exit_code", "reason", "summary", "sections", "task", "agent", "left_out")
    report = {name: found[name] for name in same}
    report |= {name: found["delivered"][name] for name in ("files", "insertions", "deletions", "notes")}
    report["checks"] = [(check["command"], check["exit_code"], check["output"]) for check in found["checks"]]
    tree = desk.git("rev-parse", f"{found['branch']}^{{tree}}").strip()
    calls = carried_out(api.requests[-1].body["messages"])
    repeated = ("Write", "Edit")  # what they say where the first, interrupted, had written already is another thing
    return Outcome(code, report, tree, [call[:2] if call[0] in repeated else call for call in calls])


def size(folder: Path) -> int:
    path = folder / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


async def break_off(desk: Desk, process: asyncio.subprocess.Process, events: int, how: str) -> bool:
    """End it after so many events of its own; whether it had ended before."""
    before = size(desk.runs[-1]) if desk.runs else 0
    async with asyncio.timeout(120):
        while process.returncode is None and (not desk.runs or size(desk.runs[-1]) < before + events):
            await asyncio.sleep(0.001)
    if process.returncode is not None:
        await process.communicate()
        return True
    process.kill()
    await process.communicate()
    if how in ("remove", "stop"):
        of_the_engine(desk.runs[-1].name, how)
    return process.returncode != -signal.SIGKILL


def of_the_engine(run: str, do: str) -> None:
    client = connect()
    try:
        for container in client.containers.list(all=True, filters={"name": f"dockwright-{run}"}):
            if do == "remove":
                container.remove(force=True, v=True)
            elif do == "stop":
                if container.status == "running":
                    container.kill()
            else:
                container.exec_run(["/opt/dockwright/bin/python3", "-I", "-c", RUNNER], user="0:0")
    finally:
        client.close()


async def broken(desk: Desk, api: PatientApi, backend: str, how: str, steps: tuple[int, ...]) -> tuple[int, int]:
    """A run that is ended after each of the steps in turn until it ends by itself; how often it was, its exit code."""
    arguments = desk.arguments(backend, *CHECK)
    for times, events in enumerate(cycle(steps)):
        process = await desk.start(api, *arguments)
        if await break_off(desk, process, events, how):
            assert process.returncode is not None
            return times, process.returncode
        begun = desk.runs and (desk.runs[-1] / "order.json").exists()
        arguments = ("resume", desk.runs[-1].name) if begun else arguments
    raise AssertionError


def paid(desk: Desk) -> None:
    """No call that finished was started again; one was only where it was stopped halfway."""
    started: Counter[str] = Counter()
    finished: Counter[str] = Counter()
    named: dict[str, str] = {}
    for event in read(desk.runs[-1] / "journal.jsonl"):
        if isinstance(event, ToolStarted):
            named[event.id] = f"{event.name} {event.input}"
            assert finished[named[event.id]] == 0, event
            started[named[event.id]] += 1
        if isinstance(event, ToolFinished) and not was_interrupted(str(event.content)):
            finished[named[event.id]] += 1
    assert set(finished.values()) == {1}
    assert set(finished) == set(started)


async def test_killed_at_every_step_it_ends_as_if_it_never_was(tmp_path: Path, unbroken: tuple[str, Outcome]) -> None:
    backend, whole = unbroken
    desk = Desk(tmp_path)
    async with PatientApi() as api:
        times, code = await broken(desk, api, backend, "host", STEPS[backend])
        assert times > 3
        assert outcome(desk, api, code) == whole
    paid(desk)
    assert leftovers(desk.runs[-1].name) == []
    found = {event.found for event in read(desk.runs[-1] / "journal.jsonl") if isinstance(event, SandboxStarted)}
    assert {"docker": "all", "bubblewrap": "workspace"}[backend] in found


@pytest.mark.docker
@pytest.mark.parametrize("how", ["remove", "stop"])
@pytest.mark.parametrize("unbroken", BACKENDS[:1], indirect=True)
async def test_killed_with_its_container_it_ends_so_too(
    tmp_path: Path, unbroken: tuple[str, Outcome], how: str
) -> None:
    _, whole = unbroken
    desk = Desk(tmp_path)
    async with PatientApi() as api:
        times, code = await broken(desk, api, "docker", how, STEPS[how])
        assert times > 1
        assert outcome(desk, api, code) == whole
    paid(desk)
    assert leftovers(desk.runs[-1].name) == []


@pytest.mark.docker
@pytest.mark.parametrize("unbroken", BACKENDS[:1], indirect=True)
async def test_when_its_runner_dies_again_and_again_it_ends_so_without_being_taken_up(
    tmp_path: Path, unbroken: tuple[str, Outcome]
) -> None:
    _, whole = unbroken
    desk = Desk(tmp_path)
    async with PatientApi() as api:
        process = await desk.start(api, *desk.arguments("docker", *CHECK))
        async with asyncio.timeout(120):
            for events in STEPS["runner"]:
                while not desk.runs or size(desk.runs[-1]) < events:
                    await asyncio.sleep(0.001)
                of_the_engine(desk.runs[-1].name, "runner")
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        assert outcome(desk, api, process.returncode) == whole
    paid(desk)
    assert leftovers(desk.runs[-1].name) == []
