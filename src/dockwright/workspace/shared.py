"""One snapshot of each repository for many runs: it is taken once, and each run gets the same objects by hard links.

So all runs of a batch start from the same state, and the history of a large repository is there once.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

from dockwright.workspace.snapshot import snapshot
from dockwright.workspace.space import Workspace


class Snapshots:
    """Snapshots by repository and commit, kept in `folder`, which must lie on the disk of the runs."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._numbers = folder, count()
        self._taken: dict[tuple[Path, str | None, tuple[str, ...]], asyncio.Task[Workspace]] = {}

    async def take(self, repo: Path, state: Path, base: str | None = None, include: Sequence[str] = ()) -> Workspace:
        """As `snapshot`. One that fails is tried again by the next run that asks."""
        key = (repo, base, tuple(include))
        if key not in self._taken:
            self._taken[key] = asyncio.create_task(snapshot(repo, self._folder / str(next(self._numbers)), *key[1:]))
        try:
            taken = await asyncio.shield(self._taken[key])
        except Exception:
            self._taken.pop(key, None)
            raise
        return await asyncio.to_thread(_linked, taken, state)

    async def clear(self) -> None:
        """Forget all of them; runs keep what they have."""
        for task in self._taken.values():
            task.cancel()
        await asyncio.gather(*self._taken.values(), return_exceptions=True)
        self._taken.clear()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _linked(taken: Workspace, state: Path) -> Workspace:
    """The same workspace in another folder. Objects never change, so they are linked; all else is copied."""
    os.makedirs(state, mode=0o700, exist_ok=True)
    there = state / "objects.git"
    shutil.copytree(taken.quarantine.folder, there, ignore=shutil.ignore_patterns("objects"))
    shutil.copytree(taken.quarantine.folder / "objects", there / "objects", copy_function=os.link)
    mine = replace(taken, state=state)
    mine.save()
    return mine
