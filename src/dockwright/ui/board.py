"""A batch while it goes on: a line for each task that ended, and on a terminal below them what goes on now.

The live part leaves nothing behind. A terminal or a pipe that goes away never ends a batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dockwright.events import CheckFinished, Event, SandboxStarted, Status, ToolStarted, TurnStarted
from dockwright.result import RunResult
from dockwright.ui.calls import asked
from dockwright.ui.visible import clip, visible
from dockwright.ui.words import count, duration, money, status_style, status_words

_FRAMES_A_SECOND = 4
_BAR = 30
_NAME = 24


class Row:
    """A task at work; `past` is what came of it before it was taken up. `take` is a sink. `node` is where, if there are
    several."""

    def __init__(self, task: str, past: RunResult | None = None) -> None:
        self.task, self.node = task, ""
        self.result = past or RunResult()
        self._paid_before = self.result.cost or 0.0
        self._doing = f"going on after turn {past.turns}" if past else "starting"
        self._since = time.monotonic()

    def take(self, event: Event) -> None:
        self.result = self.result.after(event)
        match event:
            case TurnStarted(turn=turn):
                self._doing = f"turn {turn}"
            case ToolStarted(turn=turn):
                self._doing = f"turn {turn} · {asked(event.name, event.input).plain}"
            case SandboxStarted(purpose="proof") | CheckFinished():
                self._doing = "checks"

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._since

    def paid(self, result: RunResult) -> float:
        """What of its costs was paid since this row is here."""
        return (result.cost or 0.0) - self._paid_before

    def line(self, width: int, seconds: float) -> Text:
        facts = [money(self.result.cost), duration(seconds), *filter(None, (self.node,)), self._doing]
        doing = clip(" · ".join(facts), max(width - _NAME - 4, 10))
        return Text.assemble("  ", (clip(self.task, _NAME).ljust(_NAME), "bold"), "  ", (doing, "dim"))


class Board:
    """`before` are the states of tasks that had ended in an earlier go, `more` are facts about all of it."""

    def __init__(
        self, console: Console, total: int, before: Iterable[Status] = (),
        more: Callable[[], Sequence[str]] = tuple,
    ) -> None:  # fmt: skip
        self._console, self._total, self._more = console, total, more
        self._ended = Counter(before)
        self._spent = 0.0
        self._rows: list[Row] = []
        self._live: Live | None = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                console=console, get_renderable=self._screen, refresh_per_second=_FRAMES_A_SECOND, transient=True
            )

    def __enter__(self) -> Self:
        with self._unwatched():
            if self._live:
                self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._unwatched():
            if self._live:
                self._live.stop()

    def row(self, task: str) -> Row | None:
        """The row of a task that is at work."""
        return next((row for row in self._rows if row.task == task), None)

    def add(self, task: str, past: RunResult | None = None) -> Row:
        row = Row(task, past)
        self._rows.append(row)
        return row

    def end(self, row: Row, result: RunResult, *, again: bool = False) -> None:
        """An attempt is over; `again` says that the task is not."""
        self._rows.remove(row)
        if not again:
            self._ended[result.status] += 1
        self._spent += row.paid(result)
        facts = [count(result.turns, "turn"), money(result.cost), duration(result.seconds)]
        facts += ["resumed"] if result.resumed else []
        facts += [f"on {row.node}"] if row.node else []
        facts += (visible(fact, newlines=False) for fact in (result.branch, result.reason) if fact)
        status = (status_words(result.status), status_style(result.status))
        number = (f"[{'again' if again else self._ended.total()}/{self._total}] ", "dim")
        line = Text.assemble(number, row.task, "  ", status, f"  {' · '.join(facts)}")
        if self._live:
            line.truncate(self._console.width, overflow="ellipsis")
        self.say(line)

    def say(self, what: RenderableType) -> None:
        """Print above the live part."""
        with self._unwatched():
            self._console.print(what, soft_wrap=isinstance(what, str | Text), highlight=False, markup=False)

    def _screen(self) -> Group:
        rows = tuple(self._rows)
        facts = [f"{self._ended.total()} of {self._total}"]
        facts += (f"{number} {status_words(status)}" for status, number in self._ended.most_common())
        facts += [f"{len(rows)} running", money(self._spent + sum(row.paid(row.result) for row in rows))]
        facts += self._more()
        head = Table.grid(padding=(0, 2))
        head.add_row(ProgressBar(self._total, self._ended.total(), width=_BAR), Text(" · ".join(facts)))
        return Group(head, *(row.line(self._console.width, row.seconds) for row in rows))

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SystemExit):  # rich answers a broken pipe with SystemExit
            self._console.quiet = True
