"""The slash commands of a chat. `COMMANDS` is all of them; help and completion are made from it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from difflib import get_close_matches

from rich.text import Text

from dockwright.agent import scan
from dockwright.chat.desk import Desk
from dockwright.chat.shell import shell
from dockwright.chat.undo import mark
from dockwright.errors import ConfigError
from dockwright.run.fork import fork
from dockwright.run.tunnel import open_port
from dockwright.run.work import go_back
from dockwright.ui.terminal import print_diff, spent, unwatched
from dockwright.ui.visible import visible
from dockwright.ui.words import count
from dockwright.workspace import apply as apply_run
from dockwright.workspace.hardened import GitError

Command = Callable[[Desk, str], Awaitable[None]]


class WrongUse(Exception):
    """A command was given what it does not take."""


async def obey(desk: Desk, line: str) -> None:
    """Carry out a line that begins with a slash. Raises EOFError where it is to leave."""
    name, _, rest = line[1:].partition(" ")
    command = COMMANDS.get(name)
    if command is None:
        near = get_close_matches(name, COMMANDS, n=1)
        guess = f"Did you mean /{near[0]}?" if near else "/help lists the commands."
        desk.tell(f"There is no command /{name}. {guess} To send it to the agent as it is, begin with //.")
        return
    try:
        await command(desk, rest.strip())
    except WrongUse as error:
        desk.tell(str(error))


async def _diff(desk: Desk, rest: str) -> None:
    """[last]: what changed since the beginning, or through the last message"""
    if rest not in ("", "last"):
        raise WrongUse("/diff shows all changes, /diff last those of the last message.")
    if rest and not desk.lines:
        raise WrongUse("Nothing was asked yet.")
    workspace = desk.work.workspace
    if rest:
        old, new = desk.lines[-1].before.commit, desk.lines[-1].after.commit
    else:
        desk.now = await mark(desk.work)
        old, new = workspace.base, desk.now.commit
    text = await workspace.diff_text(old, new)
    if not text:
        raise WrongUse("Nothing changed.")
    with unwatched(desk.console):
        print_diff(desk.console, desk.work.journal.redaction.text(text))


async def _undo(desk: Desk, rest: str) -> None:
    """[N]: take back the last message, or the last N, with all that the agent did"""
    if rest and not (rest.isascii() and rest.isdigit() and int(rest)):
        raise WrongUse("/undo takes back the last message, /undo 3 the last three.")
    number = int(rest or 1)
    if number > len(desk.lines):
        raise WrongUse(f"There is nothing to take back: {count(len(desk.lines), 'message')} so far.")
    undone = desk.lines[-number:]
    try:
        await go_back(desk.work, undone[0].before)
    except (GitError, OSError) as error:
        raise WrongUse(f"The files could not be put back: {error}. The conversation is as it was.") from error
    desk.now = undone[0].before
    del desk.lines[-number:]
    for line in reversed(undone):
        desk.tell(f"Took back: {line.text.splitlines()[0]}")
    desk.tell("Files, /workspace's own git and the conversation are as before; ignored files were left alone.")


async def _fork(desk: Desk, rest: str) -> None:
    """N: a second attempt from the end of turn N, as a chat of its own beside this one"""
    if not (rest.isascii() and rest.isdigit()):
        raise WrongUse("/fork 6 begins a second attempt at the end of turn 6, /fork 0 at the beginning.")
    desk.now = await mark(desk.work)
    try:
        made = await fork(desk.work.workspace.state, int(rest))
    except ConfigError as error:
        raise WrongUse(str(error)) from error
    desk.tell(f"In another terminal: dockwright resume {made.name}")
    desk.tell(
        "It has the conversation, the files and /workspace's own git as they were then; this one goes on as it is."
    )


async def _apply(desk: Desk, rest: str) -> None:
    """put the changes into your working tree, unstaged; asks first (in a pipe: /apply yes)"""
    if rest not in ("", "yes"):
        raise WrongUse("/apply asks first, /apply yes does not.")
    work = desk.work
    workspace, repo = work.workspace, work.workspace.repo
    desk.now = await mark(desk.work)
    old, new = desk.applied or workspace.base, desk.now.commit
    changes = await workspace.quarantine.changes(old, new)
    if not changes:
        raise WrongUse(f"There is nothing to apply: {repo} has it all.")
    files = count(len(changes), "file")
    if not rest and not desk.keyboard.interactive:
        raise WrongUse(f"To put {files} into {repo}, say /apply yes.")
    if not rest and not await desk.keyboard.agrees(f"Put {files} into {repo}?"):
        raise WrongUse("Not applied.")
    try:
        await apply_run(repo, workspace.state, desk.result.run, old=old, new=new)
    except ConfigError as error:
        raise WrongUse(str(error)) from error
    desk.applied = new
    desk.tell(f"{files} changed in {repo}; nothing is staged.")


async def _shell(desk: Desk, rest: str) -> None:
    """a shell of your own in the agent's sandbox; exit comes back"""
    if rest:
        raise WrongUse("/shell takes no command; it opens a shell to type them in.")
    await shell(desk)


async def _open(desk: Desk, rest: str) -> None:
    """PORT: see the agent's app in your browser, until you leave"""
    if not (rest.isascii() and rest.isdigit() and 0 < int(rest) < 1 << 16):
        raise WrongUse("/open 8000 opens port 8000 of the sandbox on this machine.")
    folder = desk.work.journal.path.parent
    here = await desk.ports.enter_async_context(open_port(folder, int(rest), None, desk.tell))
    desk.tell(f"http://127.0.0.1:{here} is port {rest} of the sandbox, on this machine's loopback, until you leave.")


async def _cost(desk: Desk, rest: str) -> None:
    """what was spent so far: money, turns, time, tokens and how many of them were cached"""
    desk.tell(*spent(desk.result), label="spent")


async def _agents(desk: Desk, rest: str) -> None:
    """the personas that can be used by name: dockwright chat -a NAME"""
    for folder in desk.agents:
        for agent in scan(folder)[0]:
            name = Text(visible(agent.name, newlines=False), "bold")
            desk.tell(name, visible(agent.description, newlines=False))


async def _help(desk: Desk, rest: str) -> None:
    """this list"""
    for name, command in COMMANDS.items():
        desk.tell(inspect.getdoc(command) or "", label=f"/{name}")
    desk.tell("A message that begins with // is sent with one slash. Ctrl-C stops the agent, Ctrl-D leaves.")
    if desk.keyboard.interactive:
        desk.tell("Alt-Enter begins another line of a message.")


async def _exit(desk: Desk, rest: str) -> None:
    """leave; what was changed is handed over as a branch"""
    raise EOFError


COMMANDS: dict[str, Command] = {
    "diff": _diff, "undo": _undo, "fork": _fork, "apply": _apply, "shell": _shell, "open": _open, "cost": _cost,
    "agents": _agents, "help": _help, "exit": _exit,
}  # fmt: skip
