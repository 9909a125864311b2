"""The user's own shell in the agent's sandbox, one command at a time."""

from __future__ import annotations

import codecs

from rich.text import Text

from dockwright.chat.desk import Desk
from dockwright.chat.keyboard import Interrupted, stoppable
from dockwright.chat.undo import mark
from dockwright.sandbox import WORKSPACE, ExecResult
from dockwright.tools.bash import argv
from dockwright.ui.terminal import unwatched
from dockwright.ui.visible import visible

_LONGEST = 24 * 3600.0  # seconds of one command
_KEPT = 1 << 12


async def shell(desk: Desk) -> None:
    """Run the user's lines until `exit` or the end of the input. The working directory lasts, variables do not."""
    if desk.keyboard.interactive:
        desk.tell("In the sandbox, as the agent. cd lasts, variables do not, and nothing can ask back; exit leaves.")
    cwd = WORKSPACE
    while True:
        try:
            line = (await desk.keyboard.command(f"sandbox:{cwd}$ ")).strip()
        except EOFError:
            break
        except Interrupted:
            continue
        if line == "exit":
            break
        if line:
            cwd = await _run(desk, line, cwd)
    desk.now = await mark(desk.work)


async def _run(desk: Desk, line: str, cwd: str) -> str:
    """Run one line, showing what it prints as it comes; the directory that it leaves the shell in."""
    screen = _Screen(desk)
    sandbox, command = desk.work.sandbox, argv(desk.work.sandbox, line)
    try:
        result = await stoppable(
            sandbox.exec(command, cwd=cwd, timeout=_LONGEST, limit=_KEPT, merge=True, on_output=screen.show)
        )
    except Interrupted:
        screen.end()
        desk.tell("stopped")
        return cwd
    except OSError as error:
        desk.tell(f"{error.strerror}: {error.filename}; back to {WORKSPACE}")
        return WORKSPACE
    screen.end()
    _tell_end(desk, result, screen.size)
    if result.job:
        desk.work.session.context.jobs[result.job] = line
    return result.cwd or cwd


def _tell_end(desk: Desk, result: ExecResult, shown: int) -> None:
    if shown < result.size:
        where = f"; all of it is in {result.output_file}" if result.output_file else ""
        desk.tell(f"{result.size - shown} bytes came too fast to be shown{where}")
    if result.exit_code:
        desk.tell(f"exit {result.exit_code}")
    if result.job:
        desk.tell(f"goes on in the background as job {result.job}")


class _Screen:
    """Output as it comes, sanitised; `size` is in bytes."""

    def __init__(self, desk: Desk) -> None:
        self.size = 0
        self._console = desk.console
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._at_start = True

    def show(self, data: bytes) -> None:
        self.size += len(data)
        self._print(self._decoder.decode(data))

    def end(self) -> None:
        """The next line begins at the left edge."""
        self._print(self._decoder.decode(b"", final=True))
        if not self._at_start:
            self._print("\n")

    def _print(self, text: str) -> None:
        if text:
            with unwatched(self._console):
                self._console.print(Text(visible(text)), end="", soft_wrap=True, highlight=False)
            self._at_start = text.endswith("\n")
