"""What a chat holds while it goes on: the work, the user's lines so far with the moments around them, the screen."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.text import Text

from dockwright.chat.keyboard import Interrupted, Keyboard, stoppable
from dockwright.chat.undo import Line, mark
from dockwright.errors import LimitReached, ModelError, ModelRefused
from dockwright.events import JsonObject, Noted
from dockwright.result import RunResult
from dockwright.run import Outcome
from dockwright.run.moments import Moment
from dockwright.run.work import Work, project_notes_of
from dockwright.ui.page import Page
from dockwright.ui.terminal import unwatched


@dataclass
class Desk:
    """`now` is the newest kept moment; it is later than the last line's where the user changed something since.
    `applied` is the commit that the user's folder has by now; `ports` closes those that were opened."""

    work: Work
    keyboard: Keyboard
    console: Console
    outcome: Outcome
    agents: tuple[Path, ...]
    now: Moment
    lines: list[Line] = field(default_factory=list)
    applied: str | None = None
    ports: AsyncExitStack = field(default_factory=AsyncExitStack)

    @property
    def result(self) -> RunResult:
        return self.outcome.result

    def tell(self, *facts: Text | str, label: str = "") -> None:
        with unwatched(self.console):
            Page(self.console).facts(label, *facts)

    async def ask(self, text: str) -> None:
        """Have the agent work on a message. What it cannot go on with is told, and the chat goes on."""
        before, failure = self.now, None
        self.lines.append(Line(text, before, before))
        try:
            await stoppable(self._send(text))
        except Interrupted:
            self.work.journal.show(Noted(text="Interrupted. What was done so far stands; /undo takes it back."))
        except (LimitReached, ModelError, ModelRefused) as error:
            failure = error
            self.work.journal.show(Noted(level="error", text=str(error)))
        self.now = await mark(self.work)
        self.lines[-1] = Line(text, before, self.now, failure)

    async def _send(self, text: str) -> None:
        session = self.work.session
        notes = [] if session.history.messages() else await project_notes_of(self.work.sandbox)
        told: list[JsonObject] = [{"type": "text", "text": self.work.told}] if self.work.told else []
        self.work.told = ""
        await session.ask([*notes, *told, {"type": "text", "text": text}])
