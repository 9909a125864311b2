"""The assistant at the desk: a conversation with a persona about a repository, line by line, in one sandbox.

A line is a message or a slash command. Whatever ends the chat, what was changed is handed over as `run` does it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from dockwright.chat.commands import COMMANDS, obey
from dockwright.chat.desk import Desk
from dockwright.chat.keyboard import Interrupted, Keyboard, Pipe, Terminal
from dockwright.chat.undo import lines_of, mark
from dockwright.config import Config
from dockwright.errors import DockwrightError, ExitCode, SandboxError
from dockwright.events import Event, Noted, Status
from dockwright.journal import Journal, read
from dockwright.redaction import Redaction
from dockwright.run import Outcome, status_of, to_its_end
from dockwright.run.bench import Host
from dockwright.run.order import save_order
from dockwright.run.work import Task, deliver, keep_last, open_work
from dockwright.ui.terminal import TerminalSink, unwatched


@dataclass(frozen=True)
class Folders:
    """`run` is made, its name is the chat's id; `history` is the file of the lines that were typed; `agents` are where
    personas are found by name."""

    run: Path
    history: Path
    agents: tuple[Path, ...]


async def chat(
    task: Task, config: Config, host: Host, folders: Folders, console: Console, *, verbose: bool = False
) -> ExitCode:
    """Talk until the user leaves, and hand over what was changed. Standard input is where the lines come from. A chat
    that is in the folder already is taken up again, whatever ended it.

    The exit code is that of the last message's failure, if it failed, or of what ended the chat.
    """
    await asyncio.to_thread(folders.run.mkdir, mode=0o700, parents=True, exist_ok=True)
    path = folders.run / "journal.jsonl"
    with TerminalSink(console, verbose=verbose) as sink, Journal(path, (), host.redaction) as journal:
        events = tuple(await asyncio.to_thread(lambda: tuple(read(path))))
        outcome = Outcome(events)
        for event in events:  # what was said before is there to be read again
            sink(event)
        journal.sinks = (outcome.take, sink)
        await asyncio.to_thread(save_order, folders.run, task, config, host.redaction)
        work = _carry_out(task, config, host, folders, console, journal, outcome, sink, events)
        await to_its_end(work, folders.run, journal, outcome)
    return ExitCode(outcome.result.exit_code)


async def _carry_out(
    task: Task, config: Config, host: Host, folders: Folders, console: Console, journal: Journal, outcome: Outcome,
    sink: TerminalSink, events: tuple[Event, ...],
) -> tuple[Status, str]:  # fmt: skip
    work, said = None, ""
    try:
        async with open_work(task, config, host, folders.run, journal, events) as work:
            lines = lines_of(events)
            now = await mark(work)
            keyboard = _keyboard(folders, host.redaction)
            desk = Desk(work, keyboard, console, outcome, folders.agents, now, lines)
            async with desk.ports:
                status, reason = await _talk(desk, sink)
            _let_ctrl_c_end_it()
            said = "\n".join(line.text for line in desk.lines)
            if status != "sandbox_lost":
                await keep_last(work)
    except SandboxError as error:
        if work is None:
            raise
        status, reason = status_of(error), str(error)
    await deliver(work, replace(task, prompt=said), host)
    return status, reason


def _keyboard(folders: Folders, redaction: Redaction) -> Keyboard:
    if os.isatty(0) and os.isatty(1):
        return Terminal(folders.history, [f"/{name}" for name in COMMANDS], redaction)
    return Pipe()


async def _talk(desk: Desk, sink: TerminalSink) -> tuple[Status, str]:
    """Line after line until the user leaves or nothing can go on; how it ended."""
    if desk.keyboard.interactive:
        desk.tell("Say what you want done. /help lists the commands, Ctrl-C stops the agent, Ctrl-D leaves.")
    try:
        while True:
            sink.close()
            if desk.keyboard.interactive:
                with unwatched(desk.console):
                    desk.console.print()
            try:
                await _take(desk, (await desk.keyboard.message()).strip())
            except Interrupted:
                if not desk.keyboard.interactive:
                    return "interrupted", "stopped by the user"
                desk.tell("Ctrl-D or /exit leaves.")
    except EOFError:
        failure = desk.lines[-1].failure if desk.lines else None
        return (status_of(failure), str(failure)) if failure else ("done", "")
    except DockwrightError as error:
        return status_of(error), str(error)
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is not None and current.uncancel() > 0:  # asked twice: no time for anything
            raise
        desk.work.journal.show(Noted(text="Told to stop. Keeping the work so far."))
        return "interrupted", "stopped from outside"


async def _take(desk: Desk, line: str) -> None:
    if line.startswith("/") and not line.startswith("//"):
        await obey(desk, line)
    elif line:
        await desk.ask(line.removeprefix("/"))


def _let_ctrl_c_end_it() -> None:
    current = asyncio.current_task()
    if current is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, current.cancel)
