"""A run is taken up where it stopped, whatever stopped it; or it is taken back by some turns first.

What was paid for stands: no answer of the journal is asked for again, no call that finished is run again, and one that
was stopped halfway is told to the model as interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dockwright.config import Config
from dockwright.events import Restored, RunStarted, SandboxStarted
from dockwright.journal import Journal, Sink, read
from dockwright.result import ENDED, RunResult
from dockwright.run import Outcome, carry_out, to_its_end, write_report
from dockwright.run.bench import Host
from dockwright.run.moments import Moment, Moments
from dockwright.run.order import load_order
from dockwright.run.work import Task, checkpoint_of
from dockwright.workspace import Workspace


async def resume(
    folder: Path, config: Config, host: Host, sinks: Sequence[Sink] = (), task: Task | None = None
) -> RunResult:
    """Go on with the run in `folder`, by the configuration given, and return its result as `run` does. `task` is what
    was asked for, secrets included, where that is known. A run that came to its end is not touched; its result is
    returned. Raises ConfigError where another process is at work on it."""
    task = task or load_order(folder)[0]
    path = folder / "journal.jsonl"
    with Journal(path, redaction=host.redaction) as journal:
        events = tuple(await asyncio.to_thread(lambda: tuple(read(path))))
        outcome = Outcome(events)
        if outcome.result.status in ENDED:
            write_report(folder, outcome.result)  # the process may have been killed just before it did
            return outcome.result
        journal.sinks = (outcome.take, *sinks)
        for event in events:
            if isinstance(event, RunStarted):  # an alias may mean another model by now
                task = replace(task, model=event.model)
            if isinstance(event, SandboxStarted) and event.purpose == "work":
                backend = {"backend": event.backend}
                config = config.model_copy(update={"sandbox": config.sandbox.model_copy(update=backend)})
        await to_its_end(carry_out(task, config, host, folder, journal, outcome, events), folder, journal, outcome)
    return outcome.result


async def undo(folder: Path, turns: int) -> Moment:
    """Take the last turns of a run back, that nobody is at work on: its files and its conversation are then those of
    the moment that is returned, and `resume` goes on from there. What was delivered stays delivered."""
    path = folder / "journal.jsonl"
    with Journal(path) as journal:
        workspace = Workspace.load(folder)
        to = Moments(await asyncio.to_thread(lambda: tuple(read(path)))).back(turns)
        workspace.last = await checkpoint_of(workspace, to)
        await asyncio.to_thread(workspace.save)
        await journal.append(Restored(turn=to.turn, commit=to.commit, git=to.git, services=to.services))
    return to
