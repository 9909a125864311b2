"""Moments of a chat that can be gone back to: those before and after each message of the user's."""

from __future__ import annotations

from collections.abc import Iterable

from dockwright.chat.line import Line
from dockwright.events import Event, Noted, Prompted, Restored
from dockwright.run import work as working
from dockwright.run.moments import Moment, Moments
from dockwright.run.work import Work, keep
from dockwright.workspace.hardened import GitError
from dockwright.workspace.inside import InsideError


class CannotUndoError(Exception):
    """The files could not be put back as they were; what was reached stays."""


async def mark(work: Work) -> Moment:
    """Keep everything as it is now, what the user did in a shell included."""
    before = work.workspace.last.left_out
    await keep(work, work.session.history.turn)
    for path in work.workspace.last.left_out:
        if path not in before:
            work.journal.show(Noted(level="warning", text=f"Cannot be kept or undone: {path}"))
    return work.moments.now


async def go_back(work: Work, to: Moment) -> None:
    """Make everything as it was. Raises CannotUndoError; then the conversation is left alone."""
    try:
        await working.go_back(work, to)
    except (InsideError, GitError, OSError) as error:
        raise CannotUndoError(f"The files could not be put back: {error}.") from error


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
