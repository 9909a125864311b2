"""`python -m benchmarks.batch [TASKS [--beside COMMAND] [FLAGS]]`: a batch of sandboxed sessions of 20 calls, beside
one process each.

Both sides do the same tasks at the same concurrency, one after the other in the same run, so that a slow machine slows
both. Printed are throughput, memory, the time over the bare sum of what the tools took, the ratio of both sides, and
how many networks the engine has more than before: none, also for `64 --services redis`. A batch that takes more of
anything than one process each is a failure.

A third side is any other agent on the command line that speaks the Messages API and has tools of these names, one
process each in a folder of its own and without a sandbox: `--beside 'claude -p Go. --dangerously-skip-permissions'`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from dataclasses import dataclass
from pathlib import Path

from benchmarks.session import script
from dockwright.events import ToolFinished
from dockwright.journal import read
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

PROGRAM = str(Path(sys.executable).with_name("dockwright"))
PERSONA = "---\nname: smith\ndescription: builds things\nmodel: haiku\n---\nYou build things.\n"
APP = "".join(f"line {number}\n" for number in range(200))
REPORT = Turn([tool_use("SubmitReport", {"summary": "It is done.", "changes": ["app.py was changed"]})])


@dataclass(frozen=True)
class Measured:
    """Seconds of wall clock and of processor time of all processes on the host's side, and of the tools themselves."""

    wall: float
    cpu: float
    tools: float
    calls: int


def prepare(folder: Path, tasks: int) -> None:
    repo = folder / "repo"
    repo.mkdir()
    (repo / "app.py").write_text(APP)
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "Start"]):
        identity = ["-c", "user.name=U", "-c", "user.email=u@example.invalid"]
        subprocess.run(["git", *identity, *command], cwd=repo, check=True)
    (folder / "smith.md").write_text(PERSONA)
    lines = [{"id": f"t{number}", "prompt": f"Task {number}."} for number in range(tasks)]
    (folder / "tasks.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


async def measure(folder: Path, url: str, *commands: list[str]) -> Measured:
    """All commands at once."""
    wall, cpu = await _take([(folder, [PROGRAM, *command]) for command in commands], url)
    took = _tool_seconds(folder)
    return Measured(wall, cpu, sum(took), len(took))


async def _take(commands: list[tuple[Path, list[str]]], url: str) -> tuple[float, float]:
    """Seconds of wall clock and of processor time of commands, each in its folder, all at once."""
    env = {"PATH": os.environ["PATH"], "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "sk-none", "IS_SANDBOX": "1"}
    env |= {name: os.environ[name] for name in ("DOCKER_HOST",) if name in os.environ}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    started = [
        await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=env | {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")},
            stdin=DEVNULL, stdout=DEVNULL,
        )
        for folder, command in commands
    ]  # fmt: skip
    codes = [await process.wait() for process in started]
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if any(codes):
        raise SystemExit(f"the benchmark's own tasks ended with {codes}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def beside(command: list[str], tasks: int) -> tuple[float, float]:
    """As `_take`, of another agent."""
    async with ScriptedApi(script("app.py"), strict=False) as api:
        with tempfile.TemporaryDirectory() as folder:
            folders = [Path(folder, f"t{number}") for number in range(tasks)]
            for each in folders:
                each.mkdir()
                (each / "app.py").write_text(APP)
            found = await _take([(each, command) for each in folders], api.url)
            if not all((each / "app.py").read_text().startswith("new 0\nnew 1\nnew 2\n") for each in folders):
                raise SystemExit(f"{command[0]} did not carry out the calls")
            return found


def _tool_seconds(folder: Path) -> list[float]:
    journals = [*folder.glob("out/t*/journal.jsonl"), *folder.glob("state/dockwright/runs/*/journal.jsonl")]
    return [event.seconds for path in journals for event in read(path) if isinstance(event, ToolFinished)]


def show(what: str, tasks: int, found: Measured) -> None:
    bare = found.tools / (os.cpu_count() or 1)
    facts = [
        f"{found.wall:.1f} s", f"{tasks / found.wall * 60:.0f} tasks/min", f"{found.calls / found.wall:.1f} calls/s",
        f"{found.cpu / found.calls * 1000:.0f} ms of our processor time a call",
        f"{found.wall / bare:.1f} times the bare sum of tool times",
    ]  # fmt: skip
    print(f"{what:<22} {', '.join(facts)}")


def networks() -> int:
    return len(subprocess.run(["docker", "network", "ls", "-q"], capture_output=True, check=True).stdout.split())


async def main(tasks: int, other: list[str], more: list[str]) -> None:
    flags = ["-C", "repo", "-a", "smith.md", "--sandbox", "docker", "--net", "none", *more]
    before = networks()
    async with ScriptedApi([*script()[:-1], REPORT, "Done."], strict=False) as api:  # as for others, see `beside`
        with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
            prepare(Path(first), tasks)
            one = ["batch", "tasks.jsonl", "--out", "out", "-j", str(tasks), *flags]
            ours = await measure(Path(first), api.url, one)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            prepare(Path(second), tasks)
            each = [["run", *flags, f"Task {number}."] for number in range(tasks)]
            theirs = await measure(Path(second), api.url, *each)
    show(f"batch, {tasks} at once", tasks, ours)
    show("one process each", tasks, theirs)
    wall, cpu = theirs.wall / ours.wall, theirs.cpu / ours.cpu
    print(f"{'ratio':<22} 1/{wall:.1f} of the time, 1/{cpu:.1f} of the processor time")
    if other:
        seconds, _ = await beside(other, tasks)
        what, times = f"{Path(other[0]).name}, one each", seconds / ours.wall
        print(f"{what:<22} {seconds:.1f} s, without a sandbox; the batch takes 1/{times:.1f} of the time")
    print(f"{'memory of the batch':<22} {peak:.0f} MiB (aim 400)")
    print(f"{'networks left over':<22} {networks() - before}")
    if min(wall, cpu) < 1:
        raise SystemExit("the batch takes more than one process each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch")
    parser.add_argument("tasks", type=int, nargs="?", default=25)
    parser.add_argument("--beside", metavar="COMMAND", type=shlex.split, default=[])
    said, rest = parser.parse_known_args()
    asyncio.run(main(said.tasks, said.beside, rest))
