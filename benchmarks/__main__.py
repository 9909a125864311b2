"""`make bench`: ratios of medians, both sides measured in turn in the same run, so that a slow machine slows both.

calls     our Bash, Read and Edit over the channel, against `docker exec` doing the same
grep      our Grep against a bare rg on the same tree of 20,000 files, both in the sandbox
tunnel    bytes through the channel against a plain TCP connection on loopback
keep      what keeping the files after a call costs, against `git status` on the same tree of 20,000 files
session   20 turns of one call each over the scripted API: our time between an answer and the next request
growth    a turn around the 100th and the 1,000th, against sending the same bodies with the SDK alone
start     `dockwright --help` as a process, and the memory of this process
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.checkpoint import checkpoint_cost
from benchmarks.long_session import growth
from benchmarks.session import session_cost
from benchmarks.tunnel import tunnels
from dockwright.sandbox import Sandbox, open_sandbox
from dockwright.sandbox.docker import Docker
from dockwright.tools import TOOLS
from dockwright.tools.base import ToolContext

NAME = "benchmark"
CONTAINER = f"dockwright-{NAME}"
Timed = Callable[[], Awaitable[object]]


async def pairs(ours: Timed, theirs: Timed, rounds: int) -> tuple[float, float]:
    """Median seconds of both, run in turn, after one warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for work, kept in zip((ours, theirs), times, strict=True):
            began = time.perf_counter()
            await work()
            if number:
                kept.append(time.perf_counter() - began)
    return statistics.median(times[0]), statistics.median(times[1])


def row(what: str, ours: float, theirs: float, aim: str) -> None:
    print(f"{what:<34} {ours * 1000:9.2f} ms {theirs * 1000:9.2f} ms   ratio 1/{theirs / ours:<7.1f} {aim}")


async def engine(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "docker", "exec", CONTAINER, *command, stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait():
        raise SystemExit(f"docker exec {command} failed")


def call(context: ToolContext, name: str, **fields: object) -> Timed:
    tool = TOOLS[name]

    async def run() -> None:
        result = await tool.model_validate(fields).run(context)
        if result.is_error:
            raise SystemExit(f"{name} failed: {result.text}")

    return run


async def calls(sandbox: Sandbox) -> None:
    context = ToolContext(sandbox=sandbox)
    path = "/workspace/app.py"
    await sandbox.write(path, b"".join(b"line %d\n" % n for n in range(200)))
    print(f"{'call':<34} {'ours':>12} {'docker exec':>12}")
    shell = ("bash", "--noprofile", "--norc", "-c", "true")
    ours, theirs = await pairs(call(context, "Bash", command="true"), lambda: engine(*shell), 25)
    row("Bash true", ours, theirs, "(aim 1/20)")
    ours, theirs = await pairs(call(context, "Read", file_path=path), lambda: engine("cat", path), 25)
    row("Read, 200 lines", ours, theirs, "(aim 1/50)")
    flip = iter(range(10_000))

    async def edit() -> None:
        number = next(flip)
        old, new = ("line 7\n", "LINE 7\n") if number % 2 == 0 else ("LINE 7\n", "line 7\n")
        await call(context, "Edit", file_path=path, old_string=old, new_string=new)()

    ours, theirs = await pairs(edit, lambda: engine("sed", "-n", "1p", path), 25)
    row("Edit, one line of 200", ours, theirs, "(aim 1/50)")


async def searching(sandbox: Sandbox) -> None:
    script = (
        "mkdir -p /workspace/tree && cd /workspace/tree && for d in $(seq 200); do mkdir $d; for f in $(seq 100); do "
        "printf 'def work_%s():\\n    return %s\\n' $f $d > $d/$f.py; done; done; echo needle > 77/77.py"
    )
    made = await sandbox.exec(["bash", "-c", script], timeout=300)
    if made.exit_code:
        raise SystemExit(made.stderr.decode())
    context = ToolContext(sandbox=sandbox)
    rg = [f"{sandbox.runtime}/bin/rg", "--no-config", "--hidden", "-l", "-e", "needle", "/workspace/tree"]
    ours, theirs = await pairs(
        call(context, "Grep", pattern="needle", path="/workspace/tree"), lambda: sandbox.exec(rg), 9
    )
    print(f"\n{'':<34} {'ours':>12} {'rg':>12}")
    both = f"{ours * 1000:9.2f} ms {theirs * 1000:9.2f} ms"
    print(f"{'Grep, 20,000 files':<34} {both}   ratio {ours / theirs:<9.2f} (aim 1.15)")


async def start() -> None:
    async def process(*arguments: str) -> None:
        done = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL)
        await done.wait()

    script = str(Path(sys.executable).parent / "dockwright")
    ours, theirs = await pairs(lambda: process(script, "--help"), lambda: process("-c", "pass"), 9)
    print(f"\n{'dockwright --help':<34} {ours:9.3f} s  (aim 0.15 s; a bare interpreter: {theirs:.3f} s)")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'peak memory of this process':<34} {peak:9.0f} MiB (with the SDK of the model's API loaded)")


async def main() -> None:
    async with open_sandbox(Docker("dockwright/workbench:latest", NAME)) as sandbox:
        await calls(sandbox)
        await searching(sandbox)
        await tunnels(sandbox)
        with tempfile.TemporaryDirectory() as folder:
            await session_cost(sandbox, Path(folder))
            await growth(Path(folder))
        with tempfile.TemporaryDirectory() as folder:
            await checkpoint_cost(sandbox, Path(folder))
    await start()


if __name__ == "__main__":
    asyncio.run(main())
