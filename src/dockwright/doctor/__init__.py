"""What this machine has, what it lacks and what to do about it, a line each, in ten seconds whatever is broken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dockwright.config import Config
from dockwright.doctor.engine import examine_engine
from dockwright.doctor.lines import Grade, Line
from dockwright.doctor.machine import examine_git, examine_model, examine_state
from dockwright.doctor.sandboxes import examine_bubblewrap, examine_docker
from dockwright.errors import ExitCode
from dockwright.ui.visible import visible

_STYLES: dict[Grade, str] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def examine(console: Console, config: Config, root: Path, state: Path, env: Mapping[str, str]) -> ExitCode:
    """Print a line for each thing looked at. Exit code 0 where a run could start, 8 without any sandbox, else 2."""
    lines = asyncio.run(_look(config, root, state, env))
    table = Table.grid(padding=(0, 2))
    for grade, what, text in lines:
        table.add_row(Text(grade, _STYLES[grade]), Text(what), Text(visible(text, newlines=False)))
    console.print(table)
    if not any(line.grade == "ok" and line.what in ("docker", "bubblewrap") for line in lines):
        return ExitCode.SANDBOX
    return ExitCode.CONFIG if any(line.grade == "fail" for line in lines) else ExitCode.OK


async def _look(config: Config, root: Path, state: Path, env: Mapping[str, str]) -> list[Line]:
    """All at once; what is broken takes its time beside the others."""
    parts = await asyncio.gather(
        _docker(env),
        _listed(examine_bubblewrap(root)),
        asyncio.to_thread(lambda: [examine_git(), *examine_state(state)]),
        _in_thread(lambda: examine_model(config)),
    )
    return [line for part in parts for line in part]


async def _docker(env: Mapping[str, str]) -> list[Line]:
    lines = await _in_thread(lambda: examine_engine(env))
    if all(line.grade != "fail" for line in lines if line.what in ("engine", "image")) and len(lines) > 1:
        lines += await _listed(examine_docker())
    return lines


async def _in_thread(look: Callable[[], Iterable[Line]]) -> list[Line]:
    return await asyncio.to_thread(lambda: list(look()))


async def _listed(lines: AsyncIterator[Line]) -> list[Line]:
    return [line async for line in lines]
