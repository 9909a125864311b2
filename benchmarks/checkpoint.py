"""What a checkpoint adds to a call, on a tree of 20,000 files, beside git's own look at the same tree."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

from dockwright.sandbox import Sandbox
from dockwright.workspace import snapshot

_ROUNDS = 15


async def checkpoint_cost(sandbox: Sandbox, folder: Path) -> None:
    repo = folder / "repo"
    for number in range(20_000):
        path = repo / str(number // 100) / f"{number % 100}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"def work():\n    return {number}\n")
    await sandbox.exec(["find", "/workspace", "-mindepth", "1", "-delete"])
    workspace = await snapshot(repo, folder / "state")
    await workspace.enter(sandbox)
    await workspace.checkpoint(sandbox, "warm")
    numbers = count()
    git = [f"{sandbox.runtime}/bin/git", "status", "--porcelain"]

    async def change() -> None:
        await sandbox.write("/workspace/7/7.py", b"x = %d\n" % next(numbers))

    timed: dict[str, Callable[[], Awaitable[object]]] = {
        "git status": lambda: sandbox.exec(git),
        "unchanged": lambda: workspace.checkpoint(sandbox, "x"),
        "one file changed": lambda: workspace.checkpoint(sandbox, "x"),
    }
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(_ROUNDS):
        for name, work in timed.items():
            if name == "one file changed":
                await change()
            began = time.perf_counter()
            await work()
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(kept) for name, kept in times.items()}
    status = medians.pop("git status")
    print(f"\n{'checkpoint, 20,000 files':<34} {'ours':>12} {'git status':>12}")
    for name, ours in medians.items():
        print(f"{name:<34} {ours * 1000:9.2f} ms {status * 1000:9.2f} ms   ratio {ours / status:<9.2f} (aim 2)")
