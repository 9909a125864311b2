"""One command of ours in a clean sandbox: what it printed, how it ended, and nothing of it left running."""

from __future__ import annotations

from collections.abc import Mapping

from dockwright.sandbox import WORKSPACE, ExecResult, Sandbox

SHOWN = 32 << 10  # bytes of output that are kept


def shell(sandbox: Sandbox, command: str) -> list[str]:
    """The argument list that has the image's shell run a command, without the start files of anybody."""
    plain = ["--noprofile", "--norc"] if sandbox.shell.endswith("bash") else []
    return [sandbox.shell, *plain, "-c", command]


async def run(
    sandbox: Sandbox,
    command: str,
    seconds: float,
    *,
    env: Mapping[str, str] | None = None,
    cwd: str = WORKSPACE,
    limit: int = SHOWN,
) -> ExecResult:
    """Run a command to its end, stdout and stderr together; what it leaves running is killed."""
    result = await sandbox.exec(shell(sandbox, command), timeout=seconds, limit=limit, merge=True, env=env, cwd=cwd)
    if result.job:
        await sandbox.kill(result.job)  # what a check leaves running must not help or hinder the next
    return result


def output(result: ExecResult) -> str:
    """The first and last of what was printed, with a word in between on how much is missing."""
    text = result.stdout
    if result.hidden:
        half = len(text) // 2
        text = text[:half] + b"\n... %d bytes left out ...\n" % result.hidden + text[half:]
    return text.decode("utf-8", "replace")
