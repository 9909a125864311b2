"""The proof of a run, executed by us where the agent has never been: a new sandbox with base and patch, no more.

What the agent installed, left in /tmp or in ignored folders, or said, is not there. That is the point.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from dockwright.events import CheckFinished, ProofStarted
from dockwright.journal import Journal
from dockwright.proof.commands import output, run
from dockwright.proof.demands import MIGRATION_TOOLS, Demands, Probe
from dockwright.proof.migrations import check_migrations
from dockwright.proof.probe import probe
from dockwright.proof.standing import changed_files, with_the_checks_of_base
from dockwright.sandbox import Sandbox
from dockwright.workspace import Workspace

__all__ = ["MIGRATION_TOOLS", "Demands", "OpenClean", "Probe", "Proof", "prove"]

OpenClean = Callable[[], AbstractAsyncContextManager[Sandbox]]


@dataclass(frozen=True)
class Proof:
    """What came of the checks of one commit. `changed` are files that they stand on and that the agent changed."""

    commit: str
    checks: tuple[CheckFinished, ...]
    changed: tuple[str, ...] = ()
    attempt: int = 1

    @property
    def failed(self) -> tuple[CheckFinished, ...]:
        return tuple(check for check in self.checks if check.exit_code != 0 and check.on != "base")

    @property
    def reason(self) -> str:
        """Why it is none; empty where every check passed."""
        own = dict.fromkeys(_reason(check) for check in self.failed if check.on == "patch")
        of_base = dict.fromkeys(check.command for check in self.failed if check.on != "patch")
        reasons = [f"failed in the clean sandbox: {', '.join(own)}"] if own else []
        if of_base:
            reasons.append(
                f"the agent changed what the checks stand on ({', '.join(self.changed)}); with these files as they "
                f"were, this fails: {', '.join(of_base)}"
            )
        return "; ".join(reasons)

    @property
    def told(self) -> str:
        """What the agent is told, to mend it."""
        parts = [
            f"{check.command}\n{_ending(check)}"
            + (f", run with your change, but with {', '.join(self.changed)} as before" if check.on != "patch" else "")
            + f". The end of its output:\n{check.output.rstrip()[-3000:]}"
            for check in self.failed
        ]
        return (
            "Your change was checked in a clean container, on the base commit plus your change, and this failed:\n\n"
            + "\n\n".join(parts)
            + "\n\nFind the cause and mend it. What you installed or left outside of the patch is not there. If the "
            "check itself is wrong, say so in the report. Then hand in the report again with SubmitReport."
        )


def _reason(check: CheckFinished) -> str:
    named = check.facts.get("failed")
    return f"{check.command} ({named})" if named else check.command


def _ending(check: CheckFinished) -> str:
    return "It was stopped by its timeout" if check.exit_code is None else f"It ended with exit code {check.exit_code}"


async def prove(
    open_clean: OpenClean,
    workspace: Workspace,
    commit: str,
    demands: Demands,
    *,
    journal: Journal,
    attempt: int = 1,
) -> Proof:
    """Carry out all demands, in order, in one clean sandbox holding a commit's files, and journal each as it ends.

    Where the agent changed what the checks stand on, they are run again, in another clean sandbox, with these files as
    they were at base. A failure ends nothing. Raises SandboxError where a sandbox cannot be started or is lost.
    """
    changed = await changed_files(workspace, commit, demands.checks, demands.may_change)
    await journal.append(ProofStarted(commit=commit, attempt=attempt, changed_check_files=tuple(changed)))
    finished: list[CheckFinished] = []

    async def carry_out(checking: AsyncIterator[CheckFinished]) -> None:
        async for check in checking:
            finished.append(check)
            await journal.append(check)

    async with open_clean() as sandbox:
        await workspace.enter(sandbox, await workspace.as_one_commit(commit))
        await carry_out(_commands(sandbox, demands))  # first: they may install what the others need
        if demands.migrations:
            await carry_out(check_migrations(sandbox, demands))
        if demands.serve:
            for answered in await probe(sandbox, demands.serve, demands.probes, demands.serve_seconds):
                finished.append(answered)
                await journal.append(answered)
    if changed:
        restored = await with_the_checks_of_base(workspace, commit, changed)
        async with open_clean() as sandbox:
            await workspace.enter(sandbox, await workspace.as_one_commit(restored))
            await carry_out(_commands(sandbox, demands, "patch with the checks of base"))
    if demands.baseline and demands.checks:
        async with open_clean() as sandbox:
            await workspace.enter(sandbox)
            await carry_out(_commands(sandbox, demands, "base"))
    return Proof(commit, tuple(finished), tuple(changed), attempt)


async def _commands(sandbox: Sandbox, demands: Demands, on: str = "patch") -> AsyncIterator[CheckFinished]:
    for check in demands.checks:
        result = await run(sandbox, check, demands.seconds)
        yield CheckFinished.model_validate(
            {
                "on": on,
                "command": check,
                "exit_code": result.exit_code,
                "output": output(result),
                "seconds": round(result.seconds, 3),
            }
        )
