"""Bash and its companions BashOutput and KillShell.

Each command gets a new shell that knows nothing of the one before but the directory it was in: the shell tells that
on descriptor 9 when it exits, which the runner reads.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable

from pydantic import Field

from dockwright.errors import ToolError
from dockwright.sandbox import WORKSPACE, ExecResult, Job, Sandbox
from dockwright.tools import rules
from dockwright.tools.base import Argument, Text, Tool, ToolContext, ToolResult
from dockwright.tools.output import (
    COMMAND_LIMIT,
    ERROR_LIMIT,
    decoded,
    head_and_tail,
    persisted,
    quoted,
    size_text,
    tidied,
)

DEFAULT_MS, MOST_MS = 120_000, 600_000
LONGEST = 120_000  # bytes of a command: the kernel takes 128 KiB in one argument
CAPTURED = 4 * COMMAND_LIMIT  # bytes: as many characters, were each of four
BENIGN = frozenset({"grep", "egrep", "fgrep", "rg", "diff", "cmp", "test", "["})  # their exit code 1 is an answer
ENDING = frozenset({"exit", "exec", "set", "trap"})  # after these a command need not have run to its end

_STOPPED = {
    "cancelled": "Command was cancelled",
    "killed": "Command was killed with all it had started, because it killed or stopped the process that watches it",
    "disk": "Command was stopped, because it filled the disk of the sandbox",
}

# `eval` keeps the words and line numbers of the shell's own errors; the trap keeps the exit code.
PROLOGUE = "trap '{ pwd -P >&9; } 2>/dev/null || :' EXIT; " + 'command=$1; shift; eval "$command"'


class Bash(Tool):
    """Run a shell command in the workspace's sandbox and return what it prints, stdout and stderr together.

    Within the workspace the working directory carries over to the next command; variables and functions do not. The
    exit code of a pipeline is that of its last command: do not pipe tests into tail. There is no terminal and
    no input. A long output is saved to a file that the result names. For servers and other long work set
    run_in_background, then use BashOutput and KillShell with the ID that comes back."""

    command: Argument = Field(description="The command")
    timeout: float | None = Field(
        None, allow_inf_nan=False, description="Milliseconds until it is killed: 120000 by default, at most 600000"
    )
    description: Text = Field("", description="What the command does, in a few words")
    run_in_background: bool = Field(False, description="Start it and return at once")

    async def run(self, ctx: ToolContext) -> ToolResult:
        if "Bash" in ctx.rules:
            rules.check(self.command, ctx.rules["Bash"])
        if len(self.command.encode()) > LONGEST:
            raise ToolError("The command is too long. Write it to a file and run the file.")
        note = await _leave_lost_cwd(ctx)
        if self.run_in_background:
            return await self._start(ctx)
        result = await ctx.sandbox.exec(
            argv(ctx.sandbox, self.command),
            cwd=ctx.cwd,
            timeout=self._seconds(),
            limit=CAPTURED,
            merge=True,
            on_output=_decoding(ctx.on_output) if ctx.on_output else None,
        )
        text, is_error = self._outcome(result)
        if result.job:
            ctx.jobs[result.job] = self.command
        details = {
            "exit_code": result.exit_code,
            "ended": result.ended,
            "output_file": result.output_file,
            "job": result.job,
        }
        return ToolResult(text + note + _notes(ctx, result), is_error, details)

    def _seconds(self) -> float:
        wanted = self.timeout if self.timeout and self.timeout > 0 else DEFAULT_MS
        return min(wanted, MOST_MS) / 1000

    async def _start(self, ctx: ToolContext) -> ToolResult:
        job = await ctx.sandbox.spawn(argv(ctx.sandbox, self.command), cwd=ctx.cwd)
        ctx.jobs[job.id] = self.command
        return ToolResult(
            f"Command running in background with ID: {job.id}. Output is being written to: {job.output_file}. "
            "BashOutput shows what is new of it, KillShell stops it.",
            details={"job": job.id, "output_file": job.output_file},
        )

    def _outcome(self, result: ExecResult) -> tuple[str, bool]:
        text = tidied(decoded(result.stdout))
        if result.ended != "exit":
            failure = _STOPPED.get(result.ended, f"Command timed out after {self._seconds():g}s")
        elif result.exit_code == 0 or (result.exit_code == 1 and _is_answer(self.command)):
            if len(text) <= COMMAND_LIMIT and not result.hidden:
                return text or "(Bash completed with no output)", False
            if result.output_file:
                return persisted(text, result.size, result.output_file, result.stored), False
            return head_and_tail(text, COMMAND_LIMIT, hidden=result.hidden), False
        else:
            failure = f"Exit code {result.exit_code}"
        file = result.output_file
        if file and result.stored < result.size:
            file += f" (only its first {size_text(result.stored)})"
        shown = head_and_tail(text, ERROR_LIMIT, hidden=result.hidden, file=file)
        return f"{failure}\n{shown}".rstrip(), True


def argv(sandbox: Sandbox, command: str) -> list[str]:
    """What runs a command in a shell without the start files of anybody, which tells where it is at its end."""
    shell = sandbox.shell
    start = [shell, "--noprofile", "--norc"] if shell.endswith("bash") else [shell]
    return [*start, "-c", PROLOGUE, shell, command]


def _decoding(on_output: Callable[[str], None]) -> Callable[[bytes], None]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda data: on_output(decoder.decode(data))


async def _leave_lost_cwd(ctx: ToolContext) -> str:
    """A command cannot start in a directory that is gone."""
    if ctx.cwd != WORKSPACE:
        try:
            await ctx.sandbox.stat(ctx.cwd)
        except OSError:
            ctx.cwd = WORKSPACE
            return f"\nShell cwd was reset to {WORKSPACE}"
    return ""


def _notes(ctx: ToolContext, result: ExecResult) -> str:
    """What else the model must know; the shell's directory is taken over on the way."""
    notes = ""
    if result.cwd and (result.cwd == WORKSPACE or result.cwd.startswith(f"{WORKSPACE}/")):
        ctx.cwd = result.cwd
    elif result.cwd:
        ctx.cwd = WORKSPACE
        notes += f"\nShell cwd was reset to {WORKSPACE}"
    if result.oom:
        notes += "\nThe sandbox ran out of memory and the kernel killed a process."
    if result.full and result.ended != "disk":  # then its output says so
        notes += f"\n{result.full}"
    if result.job:
        notes += (
            f"\nProcesses that the command started are still running, as background job {result.job}: "
            "BashOutput shows what they print, KillShell stops them."
        )
    return notes


def _is_answer(command: str) -> bool:
    """Whether exit code 1 can only have come from a command that says "no" with it, or from cd."""
    try:
        commands = [(_program(text), after) for text, after in rules.parts(command, redirections=True)]
    except ValueError:
        return False
    if any(program in ENDING for program, _ in commands):
        return False
    chain: list[str] = []  # the programs whose exit code may be that of the whole
    for number, (program, after) in enumerate(commands, 1):
        if after not in ("|", "|&"):
            chain.append(program)
        if after in (";", "\n", "&") and number < len(commands):
            chain.clear()
    return bool(chain) and chain[-1] in BENIGN and BENIGN.union({"cd"}).issuperset(chain)


def _program(text: str) -> str:
    found = re.match(r"(?:(?:then|else|do|!)\s+)*(\S+)", text)
    return found[1] if found else text


class BashOutput(Tool):
    """Show what a background command has printed since it was last asked, and whether it still runs."""

    bash_id: Text = Field(description="The ID that Bash gave")
    filter: Argument | None = Field(None, description="Regular expression: show only the lines that match")

    async def run(self, ctx: ToolContext) -> ToolResult:
        try:
            job = await ctx.sandbox.poll(self.bash_id)
        except KeyError as error:
            raise _not_found(ctx, self.bash_id) from error
        output = await self._filtered(ctx, job)
        text = head_and_tail(tidied(decoded(output)), COMMAND_LIMIT, file=job.output_file)
        parts = [f"<status>{_status(job)}</status>"]
        if job.status == "exited":
            parts.append(f"<exit_code>{job.exit_code}</exit_code>")
        if text:
            parts.append(f"<stdout>\n{text}\n</stdout>")
        details = {"status": _status(job), "exit_code": job.exit_code, "output_file": job.output_file}
        return ToolResult("\n\n".join(parts), details=details)

    async def _filtered(self, ctx: ToolContext, job: Job) -> bytes:
        """By rg, inside: its expressions cannot run away."""
        if self.filter is None:
            return job.output
        rg = [f"{ctx.sandbox.runtime}/bin/rg", "--no-config", "--text", "-e", self.filter, "--", "-"]
        result = await ctx.sandbox.exec(rg, stdin=job.output, timeout=10)
        if result.exit_code not in (0, 1):
            words = quoted(tidied(decoded(result.stderr)))
            raise ToolError(f"The filter was not accepted: {words}\nThe whole output is in {job.output_file}.")
        return result.stdout


def _not_found(ctx: ToolContext, shell_id: str) -> ToolError:
    return ToolError(f"No shell found with ID: {shell_id}. There are: {', '.join(ctx.jobs) or 'none'}")


def _status(job: Job) -> str:
    if job.status == "exited":
        return "failed" if job.exit_code else "completed"
    return job.status


class KillShell(Tool):
    """Stop a background command and everything it started."""

    shell_id: Text = Field(description="The ID that Bash gave")

    async def run(self, ctx: ToolContext) -> ToolResult:
        try:
            job = await ctx.sandbox.kill(self.shell_id)
        except KeyError as error:
            raise _not_found(ctx, self.shell_id) from error
        command = quoted(ctx.jobs.get(job.id, "unknown command"))
        message = f"Successfully killed shell: {job.id} ({command})"
        return ToolResult(
            json.dumps({"message": message, "shell_id": job.id}),
            details={"job": job.id, "output_file": job.output_file},
        )
