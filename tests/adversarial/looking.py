"""What attacks are told by: which processes are still there, and programs to attack with."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

from dockwright.sandbox import Sandbox

COUNT = (
    'for p in /proc/[0-9]*; do tr "\\0" " " < $p/cmdline; echo; done 2>/dev/null | grep -v grep | grep -c -e "$0" || :'
)


def mark() -> str:
    """A word that no other process has in its command line."""
    return f"mark{uuid.uuid4().hex[:8]}"


def counting(mark: str) -> list[str]:
    """A command that prints how many processes have the mark, which it does not have itself."""
    return ["sh", "-c", COUNT, f"{mark[:-1]}[{mark[-1]}]"]


async def alive(sandbox: Sandbox, mark: str) -> int:
    return int((await sandbox.exec(counting(mark))).stdout)


def on_this_machine(mark: str) -> Iterator[int]:
    """Process ids, as the host has them. Sandboxes here are processes of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                yield int(path.parent.name)
        except OSError:
            continue
