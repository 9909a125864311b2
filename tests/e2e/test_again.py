"""Runs that are taken up, taken back and forked, as a user has it on the command line."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.running import PROGRAM, REPORT, WORK, Desk, leftovers
from tests.repositories import everything

from dockwright.events import Answered, Delivered, ToolFinished
from dockwright.journal import read
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use


def bash(command: str) -> Turn:
    return Turn([tool_use("Bash", {"command": command})])


BEGIN = bash("mkdir src; echo one > src/one; git add -A; git commit -qm one; echo two > src/two; cd src")
DESTROY = bash(
    "cd ..; git checkout -qb other; rm -rf src README.md; git commit -qam gone; git branch -qD main; touch x"
)
LOOK = bash("pwd; git branch --show-current; git log --format=%s; git status --porcelain; cat one two; ls ..")
SEEN = "/workspace/src\nmain\none\nStart\n?? src/two\none\ntwo\nREADME.md\nsrc"
ENDING: list[Turn | str] = [LOOK, Turn([REPORT]), "Done."]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def results(folder: Path) -> list[object]:
    return [event.content for event in read(folder / "journal.jsonl") if isinstance(event, ToolFinished)]


async def test_a_run_at_its_limit_is_taken_back_and_goes_on_from_there(desk: Desk, backend: str) -> None:
    code, said = await desk.run([BEGIN, DESTROY], "--turns", "2", backend=backend)
    assert code == 5, said
    run = desk.runs[-1].name
    code, said = await desk.call(None, "undo", run)
    assert (code, said.split("\n")[0]) == (0, f"Back at the end of turn 1. Go on with: dockwright resume {run}")
    async with ScriptedApi([BEGIN, *ENDING]) as api:
        code, said = await desk.call(api, "resume", run, "--turns", "9")
        assert (code, len(api.requests)) == (0, 3), said
    assert results(desk.runs[-1])[-2] == SEEN
    assert desk.git("ls-tree", "-r", "--name-only", f"dockwright/{run}").split() == ["README.md", "src/one", "src/two"]
    code, said = await desk.call(None, "undo", run, "9")
    assert (code, "9 turns cannot be taken back: there are 4." in said) == (2, True), said
    assert leftovers(run) == []


async def test_a_fork_is_a_run_of_its_own_and_the_first_is_not_touched(desk: Desk) -> None:
    desk.env = {"TOKEN": "hunter2!"}
    await desk.run([BEGIN, DESTROY, Turn([REPORT]), "Done."], "--secret", "TOKEN")
    first = desk.runs[-1]
    before, branch = everything(first), desk.git("rev-parse", f"dockwright/{first.name}")
    code, said = await desk.call(None, "fork", f"{first.name}@1", "--task", "Look around with hunter2!")
    assert code == 0, said
    (second,) = (folder for folder in desk.runs if folder != first)
    assert second.name in said
    async with ScriptedApi([BEGIN, *ENDING]) as api:
        code, said = await desk.call(api, "resume", second.name)
        assert (code, len(api.requests)) == (0, 3), said
        asked = [block.get("text") for block in api.requests[0].body["messages"][-1]["content"]]
        assert "Look around with [TOKEN]" in asked
    assert [path for path in second.rglob("*") if path.is_file() and b"hunter2!" in path.read_bytes()] == []
    assert results(second)[-2] == SEEN
    assert next(event.cost for event in read(second / "journal.jsonl") if isinstance(event, Answered)) == 0
    assert everything(first) == before
    assert desk.git("rev-parse", f"dockwright/{first.name}") == branch
    assert desk.git("ls-tree", "-r", "--name-only", f"dockwright/{second.name}").split()[1:] == ["src/one", "src/two"]
    code, said = await desk.call(None, "fork", f"{first.name}@9")
    assert (code, "There is no turn 9 to go back to. There are: 0, 1, 2, 3, 4" in said) == (2, True), said
    code, said = await desk.call(None, "fork", first.name)
    assert (code, "names no turn of a run" in said) == (2, True)


async def test_a_run_that_has_ended_says_so_and_asks_nobody(desk: Desk) -> None:
    await desk.run(WORK, "--check", "false")
    before = (desk.runs[-1] / "journal.jsonl").read_bytes()
    async with ScriptedApi() as api:
        code, said = await desk.call(api, "resume", desk.runs[-1].name)
        assert (code, api.requests) == (3, [])
    assert f"The run {desk.runs[-1].name} has ended: checks_failed." in said
    assert (desk.runs[-1] / "journal.jsonl").read_bytes() == before


async def test_a_signal_ends_a_run_in_good_order_and_it_goes_on_with_what_it_had(desk: Desk) -> None:
    slow = bash("echo slow > slow.txt; sleep 60")
    async with ScriptedApi([*WORK[:1], slow, Turn([REPORT]), "Done."]) as api:
        process = await desk.start(api, *desk.arguments("docker"))
        async with asyncio.timeout(60):
            while len(api.requests) < 2 or not results(desk.runs[-1]):
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2)
        code, said = await desk.call(api, "resume", desk.runs[-1].name)
        assert (code, "Another process is at work on the run" in said) == (2, True), said
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGHUP)
        await process.communicate()
        run = desk.runs[-1].name
        assert (process.returncode, leftovers(run)) == (130, [])
        code, said = await desk.call(api, "resume", run)
        assert (code, len(api.requests)) == (0, 4), said
        told = [block.get("content", block.get("text")) for block in api.requests[2].body["messages"][-1]["content"]]
    assert "Interrupted" in told[0]
    assert "you go on in a new one" in told[1]
    delivered = [event for event in read(desk.runs[-1] / "journal.jsonl") if isinstance(event, Delivered)]
    assert [event.branch for event in delivered] == [f"dockwright/{run}"] * 2
    assert desk.git("show", f"dockwright/{run}:slow.txt") == "slow\n"


async def test_a_full_disk_leaves_the_sandbox_and_the_run_goes_on_when_there_is_room(desk: Desk) -> None:
    state, copy = desk.folder / "state", desk.folder / "copy"
    state.mkdir()
    large = bash("head -c 12000000 /dev/urandom > large.bin; echo made")
    room = ["bwrap", "--dev-bind", "/", "/", "--size", str(10 << 20), "--tmpfs", str(state)]
    line = f'"$@"; code=$?; cp -r {state} {copy}; exit $code'
    async with ScriptedApi([large, Turn([REPORT]), "Done."]) as api:
        command = [PROGRAM, *desk.arguments("docker")]
        process = await asyncio.create_subprocess_exec(
            *room, "sh", "-c", line, "sh", *command, cwd=desk.folder, env=environment(desk, api),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(120):
            output, _ = await process.communicate()
        shutil.copytree(copy, state, dirs_exist_ok=True)
        run = desk.runs[-1].name
        said = " ".join(output.decode().split())
        assert process.returncode == 5, said
        assert f"The sandbox (docker, dockwright-{run}) is left as it is." in said
        assert f"dockwright-{run}" in leftovers(run)
        code, said = await desk.call(api, "resume", run)
        assert (code, len(api.requests)) == (0, 3), said
    assert desk.git("cat-file", "-s", f"dockwright/{run}:large.bin").strip() == "12000000"
    assert leftovers(run) == []


def environment(desk: Desk, api: ScriptedApi) -> dict[str, Any]:
    base = {name: os.environ[name] for name in ("PATH", "HOME", "DOCKER_HOST") if name in os.environ}
    base |= {f"XDG_{name}_HOME": str(desk.folder / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    return {**base, "ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "k"}
