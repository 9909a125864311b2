"""When a run is proven, how often what fails goes back to the agent, and what the verdict is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from dockwright.config import Config
from dockwright.events import Status
from dockwright.journal import Journal
from dockwright.proof import Proof, prove
from dockwright.result import RunResult
from dockwright.run.bench import Host, open_bench
from dockwright.run.preparing import prepared
from dockwright.run.work import Task, Work, keep
from dockwright.sandbox import Sandbox
from dockwright.workspace import Workspace

ProveIt = Callable[[Workspace, int], Awaitable[Proof]]


async def prove_kept(
    task: Task, config: Config, host: Host, journal: Journal, workspace: Workspace, attempt: int
) -> Proof:
    """The proof of what was kept last."""
    settings = await prepared(config.sandbox, host, workspace, journal)

    def open_clean() -> AbstractAsyncContextManager[Sandbox]:
        return open_bench(settings, host, f"{task.run}-proof", "proof", journal)

    return await prove(open_clean, workspace, workspace.last.commit, task.demands, journal=journal, attempt=attempt)


async def repair(work: Work, task: Task, prove_it: ProveIt) -> Proof | None:
    """Have the agent mend what fails in a clean sandbox, as often as was asked for. None where nothing was proven."""
    proof = None
    for attempt in range(1, task.repairs + 1 if task.demands else 1):
        await keep(work, work.session.history.turn)
        if work.workspace.last.commit == (proof.commit if proof else work.workspace.base):
            break
        proof = await prove_it(work.workspace, attempt)
        if not proof.reason:
            break
        await work.session.ask([{"type": "text", "text": proof.told}], source="harness")
    return proof


def verdict(proof: Proof | None, result: RunResult, *, handed_in: bool) -> tuple[Status, str]:
    """What was seen decides; the report can only take away from it."""
    if proof and proof.reason:
        return "checks_failed", proof.reason
    if not handed_in:
        return "unverified", "the agent handed in no report"
    if refuted := [claim for claim in result.claims if claim.verdict == "refuted"]:
        more = f" (and {len(refuted) - 1} more)" if len(refuted) > 1 else ""
        return "unverified", f'the report says "{refuted[0].text[:200]}", but {refuted[0].reason}{more}'
    return ("verified", "") if proof else ("done", "")
