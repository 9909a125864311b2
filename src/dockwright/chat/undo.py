"""Moments of a chat that can be gone back to: those before and after each message of the user's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dockwright.errors import DockwrightError
from dockwright.events import Event, Noted, Prompted, Restored
from dockwright.run.moments import Moment, Moments
from dockwright.run.work import Work, keep


@dataclass(frozen=True)
class Line:
    """A message of the user's with what was before and after the agent worked on it, and why it failed if it did."""

    text: str
    before: Moment
    after: Moment
    failure: DockwrightError | None = None


async def mark(work: Work) -> Moment:
    """Keep everything as it is now, what the user did in a shell included."""
    before = work.workspace.last.left_out
    await keep(work, work.session.history.turn)
    for path in work.workspace.last.left_out:
        if path not in before:
            work.journal.show(Noted(level="warning", text=f"Cannot be kept or undone: {path}"))
    return work.moments.now


def lines_of(events: Iterable[Event]) -> list[Line]:
    """The messages of a chat that is taken up again, with the moments around them."""
    moments, lines = Moments(), list[Line]()
    for event in events:
        moments.add(event)
        match event:
            case Prompted(source="user", content=content):
                lines.append(Line(str(content[-1].get("text", "")), moments.now, moments.now))
            case Restored(turn=turn):
                lines = [line for line in lines if line.before.turn < turn]
    ends = [*(line.before for line in lines[1:]), moments.now]
    return [Line(line.text, line.before, end) for line, end in zip(lines, ends, strict=False)]
