"""A control group for a sandbox without an engine: its memory and processes limited as a whole, where that is allowed.

It is where we are root, or where the user's own part of the tree was delegated (systemd does so); version 1 and 2.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

TREE = Path("/sys/fs/cgroup")
# Moves itself there, then becomes the command: nothing it starts was ever outside.
_ENTER = 'for folder in $1; do echo $$ > "$folder/cgroup.procs" || exit; done; shift; exec "$@"'


@dataclass(frozen=True)
class Group:
    """`folders` are one (version 2) or one for each controller; `seen_as` is where the memory's belongs inside."""

    folders: tuple[Path, ...]
    seen_as: Path

    def entered_by(self, command: list[str]) -> list[str]:
        return ["/bin/sh", "-c", _ENTER, "sh", " ".join(map(str, self.folders)), *command]


def make(name: str, *, memory: int, pids: int) -> Group | None:
    """A new group, `memory` in bytes with swap; None where this machine does not let us."""
    limits = {"memory.max": memory, "memory.swap.max": 0, "pids.max": pids}
    if (TREE / "cgroup.controllers").exists():
        for parent in _parents():
            if _limited(parent / name, limits, {"memory.max", "pids.max"}):
                return Group((parent / name,), TREE)
        return None
    limits = {"memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory}
    folders = TREE / "memory" / name, TREE / "pids" / name
    if _limited(folders[0], limits, {"memory.limit_in_bytes"}) and _limited(
        folders[1], {"pids.max": pids}, {"pids.max"}
    ):
        return Group(folders, TREE / "memory")
    remove(folders)
    return None


def remove(folders: tuple[Path, ...]) -> None:
    """Once nobody is in it; the kernel may need a moment to see that."""
    until = time.monotonic() + 2
    for folder in folders:
        while folder.exists() and time.monotonic() < until:
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.02)


def _parents() -> tuple[Path, ...]:
    """Version 2: where a group of ours may be, the root for root, else beside or below the one that we are in."""
    if os.getuid() == 0:
        return (TREE,)
    own = TREE / Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    return own.parent, own


def _limited(folder: Path, limits: dict[str, int], needed: set[str]) -> bool:
    try:
        folder.mkdir()
        for name, limit in limits.items():
            if name in needed or (folder / name).exists():
                (folder / name).write_text(str(limit))
    except OSError:
        remove((folder,))
        return False
    return True
