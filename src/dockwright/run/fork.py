"""A second attempt from the end of a turn: a new run with the files and the conversation up to there.

The run it comes from is only read. What it paid for is not paid again, so the answers that are taken over cost nothing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path

from dockwright.events import (
    Answered,
    BoundaryTested,
    CheckFinished,
    CheckpointMade,
    Delivered,
    Event,
    NetworkAsked,
    Noted,
    Prompted,
    Reported,
    Resumed,
    RunFinished,
    RunStarted,
    SandboxStarted,
    ServiceDied,
    ServiceStarted,
    ToolFinished,
    TurnStarted,
    to_line,
)
from dockwright.journal import read
from dockwright.redaction import Redaction
from dockwright.run.moments import Moments
from dockwright.run.order import load_order, save_order
from dockwright.run.work import checkpoint_of, new_run_id
from dockwright.workspace import Workspace
from dockwright.workspace.durable import write_durably

_OF_ITS_OWN = (
    Resumed, SandboxStarted, BoundaryTested, ServiceStarted, ServiceDied, Reported, CheckFinished, NetworkAsked,
    Delivered, Noted, RunFinished,
)  # fmt: skip


async def fork(folder: Path, turn: int, prompt: str | None = None) -> Path:
    """Make a run beside `folder` that stands at the end of a turn (0: before the first) and, where there is a prompt,
    was just asked that. Its folder is returned; `resume` goes on with it."""
    events = await asyncio.to_thread(lambda: tuple(read(folder / "journal.jsonl")))
    task, config = load_order(folder)
    workspace = Workspace.load(folder)
    moment = Moments(events).at(turn)
    new = replace(task, run=new_run_id(), prompt=prompt or task.prompt)
    for event in events:
        if isinstance(event, SandboxStarted) and event.purpose == "work":
            backend = {"backend": event.backend}
            config = config.model_copy(update={"sandbox": config.sandbox.model_copy(update=backend)})
    into = folder.with_name(new.run)
    await asyncio.to_thread(into.mkdir, mode=0o700)
    await asyncio.to_thread(share_kept, folder, into)
    copy = replace(workspace, state=into, last=await checkpoint_of(workspace, moment))
    await asyncio.to_thread(copy.save)
    await asyncio.to_thread(save_order, into, new, config, Redaction())
    lines = [to_line(_taken_over(event, new.run, new.prompt)) for event in _until(events, turn)]
    if prompt and turn:
        lines.append(to_line(Prompted(content=({"type": "text", "text": prompt},))))
    await asyncio.to_thread(write_durably, into / "journal.jsonl", b"".join(lines))
    return into


def _until(events: tuple[Event, ...], turn: int) -> list[Event]:
    """The events of the conversation up to the end of a turn."""
    ends = [
        number
        for number, event in enumerate(events, start=1)
        if isinstance(event, RunStarted)
        or (isinstance(event, TurnStarted | Answered | ToolFinished | CheckpointMade) and event.turn <= turn)
    ]
    last = next((n for n, event in enumerate(events) if isinstance(event, TurnStarted) and event.turn > turn), None)
    end = max(number for number in ends if last is None or number <= last)
    return [event for event in events[:end] if not isinstance(event, _OF_ITS_OWN)]


def _taken_over(event: Event, run: str, prompt: str) -> Event:
    match event:
        case RunStarted():
            return event.model_copy(update={"run": run, "task": prompt})
        case Answered():
            return event.model_copy(update={"cost": 0.0})
        case _:
            return event


def share_kept(folder: Path, into: Path) -> None:
    """What was kept: objects and archives never change, so they are shared where the disk can."""

    def share(source: str, target: str) -> None:
        name = os.path.basename(source)
        if "objects" in source.split(os.sep) or name.endswith(".gz"):
            try:
                os.link(source, target)
                return
            except OSError:
                pass
        shutil.copy2(source, target)

    for name in ("objects.git", "git", "services"):
        if (folder / name).exists():
            shutil.copytree(folder / name, into / name, copy_function=share)
