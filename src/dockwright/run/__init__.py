"""One task, from a repository to a delivered branch, a verdict and a report. The only place where concrete parts meet.

Whatever ends the work (a limit, a refusal, an API that is down, Ctrl-C), what was done so far is taken out of the
sandbox and delivered; only the verdict differs. Success is a positive proof, never a default.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

from dockwright.agent import resolve_tools
from dockwright.config import Config
from dockwright.errors import (
    ConfigError,
    DockwrightError,
    LimitReached,
    ModelError,
    ModelRefused,
    SandboxError,
    SandboxLost,
)
from dockwright.events import ClaimsJudged, Event, Noted, Reported, RunFinished, Status, ToolFinished
from dockwright.journal import Journal, Sink, read
from dockwright.model import Model
from dockwright.proof import Proof, prove
from dockwright.report import judge, render_json, render_markdown
from dockwright.result import RunResult, exit_code_of
from dockwright.run.bench import Host, open_bench, policy_of
from dockwright.run.work import Task, Work, deliver, keep, open_work, project_notes_of
from dockwright.sandbox import Sandbox
from dockwright.tools import TOOLS
from dockwright.ui.html import render
from dockwright.workspace import LOST
from dockwright.workspace.durable import write_durably

MOST_OF_PATCH = 4 << 20  # bytes of the patch that the page takes
REMINDER = (
    "You ended without a report. If the work is finished and tested, call SubmitReport now; otherwise finish it first. "
    "Work that is not reported counts as unverified."
)
_STATUS: tuple[tuple[type[DockwrightError], Status], ...] = (
    (ConfigError, "config_error"),
    (LimitReached, "limit"),
    (ModelRefused, "refused"),
    (ModelError, "model_error"),
    (SandboxError, "sandbox_lost"),
)


def check(task: Task, config: Config) -> None:
    """Whether a task can be begun, before anything is made for it. Raises ConfigError."""
    resolve_tools(task.agent, tuple(TOOLS))
    Model(config.model, task.model or task.agent.model)
    policy_of(config.sandbox)
    if not task.repo.is_dir():
        raise ConfigError(f"{task.repo} is not a folder. Name a repository, or an empty folder to start from.")


async def run(task: Task, config: Config, host: Host, folder: Path, sinks: Sequence[Sink] = ()) -> RunResult:
    """Carry a task out in `folder`, which is made. Every end of it is a result with a status of its own, but for
    bugs, which are raised after the journal knows of them."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True)
    outcome = Outcome()
    with Journal(folder / "journal.jsonl", (outcome.take, *sinks), host.redaction) as journal:
        await to_its_end(_carry_out(task, config, host, folder, journal, outcome), folder, journal, outcome)
    return outcome.result


async def to_its_end(
    work: Coroutine[Any, Any, tuple[Status, str]], folder: Path, journal: Journal, outcome: Outcome
) -> None:
    """Await the work and, whatever ends it, write down how it ended, and the report."""
    status: Status = "bug"
    reason = "an unexpected error; its traceback was printed"
    try:
        status, reason = await work
    except asyncio.CancelledError:
        status, reason = "interrupted", "stopped by the user"
    except DockwrightError as error:
        status, reason = status_of(error), str(error)
    finally:
        await journal.append(RunFinished(status=status, exit_code=exit_code_of(status), reason=reason))
        write_report(folder, outcome.result)


class Outcome:
    """A sink that keeps the result up to date, and the report as it was handed in last."""

    def __init__(self) -> None:
        self.result = RunResult()
        self.report: Reported | None = None

    def take(self, event: Event) -> None:
        self.result = self.result.after(event)
        if isinstance(event, ToolFinished) and not event.is_error and "report" in event.details:
            self.report = Reported.model_validate(event.details["report"])


def status_of(error: DockwrightError) -> Status:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), "bug")


def write_report(folder: Path, result: RunResult) -> None:
    write_durably(folder / "report.md", render_markdown(result).encode())
    write_durably(folder / "report.json", render_json(result).encode())
    write_durably(folder / "report.html", page_of(folder, result).encode("utf-8", "replace"))


def page_of(folder: Path, result: RunResult) -> str:
    """The report as one page, from what a run left in its folder."""
    patch = folder / "changes.patch"
    change = patch.read_bytes()[:MOST_OF_PATCH].decode("utf-8", "replace") if patch.exists() else ""
    return render(result, read(folder / "journal.jsonl"), change)


async def _carry_out(
    task: Task, config: Config, host: Host, folder: Path, journal: Journal, outcome: Outcome
) -> tuple[Status, str]:
    work = None
    prove_it = partial(_prove, task, config, host, journal)
    try:
        async with open_work(task, config, host, folder, journal) as work:
            status, reason, proof = await _converse(work, task, journal, outcome, prove_it)
            await keep(work.workspace, work.sandbox, journal, outcome.result.turns)
    except SandboxLost as error:
        if work is None:
            raise
        status, reason, proof = "sandbox_lost", str(error), None
    changed = await deliver(work, task, host, outcome.report.summary if outcome.report else "")
    done = work.workspace.last
    if status != "done":
        return status, reason
    if lost := next((line for line in done.left_out if line.startswith(LOST)), None):
        return "unverified", f"not all of the work could be kept: {lost}"
    if not changed:
        return "unverified", "the agent changed nothing in the workspace"
    if task.demands and (proof is None or proof.commit != done.commit):
        proof = await prove_it(work, proof.attempt + 1 if proof else 1)
    if outcome.report:
        claims = await judge(outcome.report, read(journal.path), work.workspace, done.commit)
        await journal.append(ClaimsJudged(claims=claims))
    return _verdict(proof, outcome)


def _verdict(proof: Proof | None, outcome: Outcome) -> tuple[Status, str]:
    """What was seen decides; the report can only take away from it."""
    if proof and proof.reason:
        return "checks_failed", proof.reason
    if outcome.report is None:
        return "unverified", "the agent handed in no report"
    if refuted := [claim for claim in outcome.result.claims if claim.verdict == "refuted"]:
        more = f" (and {len(refuted) - 1} more)" if len(refuted) > 1 else ""
        return "unverified", f'the report says "{refuted[0].text[:200]}", but {refuted[0].reason}{more}'
    return ("verified", "") if proof else ("done", "")


ProveIt = Callable[[Work, int], Awaitable[Proof]]


async def _prove(task: Task, config: Config, host: Host, journal: Journal, work: Work, attempt: int) -> Proof:
    """The proof of what was kept last."""

    def open_clean() -> AbstractAsyncContextManager[Sandbox]:
        return open_bench(config.sandbox, host, f"{task.run}-proof", "proof", journal)

    return await prove(
        open_clean, work.workspace, work.workspace.last.commit, task.demands, journal=journal, attempt=attempt
    )


async def _converse(
    work: Work, task: Task, journal: Journal, outcome: Outcome, prove_it: ProveIt
) -> tuple[Status, str, Proof | None]:
    """The conversation until its end, whatever that is. The work of an interrupted or failed one is kept, too."""
    proof = None
    try:
        notes = await project_notes_of(work.sandbox)
        await work.session.ask([*notes, {"type": "text", "text": task.prompt}])
        if outcome.report is None:
            await work.session.ask([{"type": "text", "text": REMINDER}], source="harness")
        proof = await _repair(work, task, journal, outcome, prove_it)
    except (LimitReached, ModelRefused, ModelError) as error:
        return status_of(error), str(error), None
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.uncancel() > 0:  # asked twice: no time for anything
            raise
        journal.show(Noted(text="Interrupted. Keeping the work so far; once more to stop at once."))
        return "interrupted", "stopped by the user", None
    finally:
        if outcome.report:
            journal.show(outcome.report)
    return "done", "", proof


async def _repair(work: Work, task: Task, journal: Journal, outcome: Outcome, prove_it: ProveIt) -> Proof | None:
    """Have the agent mend what fails in a clean sandbox, as often as was asked for. None where nothing was proven."""
    proof = None
    for attempt in range(1, task.repairs + 1 if task.demands else 1):
        await keep(work.workspace, work.sandbox, journal, outcome.result.turns)
        if work.workspace.last.commit == (proof.commit if proof else work.workspace.base):
            break
        proof = await prove_it(work, attempt)
        if not proof.reason:
            break
        await work.session.ask([{"type": "text", "text": proof.told}], source="harness")
    return proof
