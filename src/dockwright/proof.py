"""The checks of a run, executed by us where the agent has never been: a new sandbox with base and patch, no more.

What the agent installed, left in /tmp or in ignored folders, or said, is not there. That is the point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from dockwright.events import CheckFinished
from dockwright.journal import Journal
from dockwright.sandbox import ExecResult, Sandbox
from dockwright.workspace import Workspace

_SHOWN = 32 << 10


async def prove(
    open_clean: Callable[[], AbstractAsyncContextManager[Sandbox]],
    workspace: Workspace,
    commit: str,
    checks: Sequence[str],
    *,
    timeout: float,  # noqa: ASYNC109 - enforced inside the sandbox, for each check
    journal: Journal,
) -> tuple[CheckFinished, ...]:
    """Run all checks, in order, in one clean sandbox holding a commit's files, and journal each as it ends.

    `timeout` is in seconds and for each check; one that is stopped by it has no exit code. A failure ends nothing.
    Raises SandboxError where the sandbox cannot be started or is lost.
    """
    finished = []
    async with open_clean() as sandbox:
        await workspace.enter(sandbox, await workspace.as_one_commit(commit))
        for check in checks:
            finished.append(await _run(sandbox, check, timeout))
            await journal.append(finished[-1])
    return tuple(finished)


async def _run(sandbox: Sandbox, check: str, seconds: float) -> CheckFinished:
    plain = ["--noprofile", "--norc"] if sandbox.shell.endswith("bash") else []
    result = await sandbox.exec([sandbox.shell, *plain, "-c", check], timeout=seconds, limit=_SHOWN, merge=True)
    if result.job:
        await sandbox.kill(result.job)  # what a check leaves running must not help or hinder the next
    return CheckFinished(
        command=check, exit_code=result.exit_code, output=_output(result), seconds=round(result.seconds, 3)
    )


def _output(result: ExecResult) -> str:
    """The first and last of what was printed, with a word in between on how much is missing."""
    text = result.stdout
    if result.hidden:
        half = len(text) // 2
        text = text[:half] + b"\n... %d bytes left out ...\n" % result.hidden + text[half:]
    return text.decode("utf-8", "replace")
