"""Many runs on one table: a line a run, and what it all came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from dockwright.events import JsonObject
from dockwright.result import RunResult
from dockwright.ui.visible import visible
from dockwright.ui.words import count, duration, money, status_style, status_words

_NARROW = 60


@dataclass(frozen=True)
class SummaryTable:
    """The runs in the order given. The task has the room that is left; a narrow screen has less beside it."""

    results: Sequence[RunResult]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(
            box=None, pad_edge=False, show_footer=True, expand=True, header_style="dim", footer_style="bold"
        )  # fmt: skip
        columns = _columns(self.results, narrow=options.max_width < _NARROW)
        for header, footer, right, _ in columns:
            table.add_column(
                header, footer, justify="right" if right else "left", ratio=1 if header == "task" else None,
                no_wrap=header != "run", overflow="fold" if header == "run" else "ellipsis",
            )  # fmt: skip
        for row in zip(*(cells for *_, cells in columns), strict=True):
            table.add_row(*row)
        yield table


def _columns(results: Sequence[RunResult], *, narrow: bool) -> list[tuple[str, str, bool, list[Text]]]:
    """Header, sum, whether it stands on the right, and a cell for each run."""
    costs = ["unknown" if result.cost is None else money(result.cost) for result in results]
    seconds = [result.seconds for result in results]
    tasks = [Text(visible(result.task.strip().partition("\n")[0], newlines=False)) for result in results]
    columns = [
        ("run", count(len(results), "run"), False, [Text(visible(one.run, newlines=False)) for one in results]),
        (
            "status",
            _tally(results),
            False,
            [Text(status_words(one.status), status_style(one.status)) for one in results],
        ),
        ("checks", "", False, [Text(_checks(result)) for result in results]),
        ("turns", str(sum(result.turns for result in results)), True, [Text(str(result.turns)) for result in results]),
        ("cost", _total_cost(results), True, [Text(cost) for cost in costs]),
        ("time", duration(sum(seconds)), True, [Text(duration(one)) for one in seconds]),
        ("task", "", False, tasks),
    ]
    return [column for column in columns if not narrow or column[0] in ("run", "status", "task")]


def print_batch(console: Console, state: JsonObject, *, tasks: bool = False) -> None:
    """The state of a running batch, as it tells it: what it may use, and what its tasks do."""
    listed: Any = state["tasks"]
    states = Counter(str(task["state"]) for task in listed)
    facts = [f"{number} {status_words(state)}" for state, number in states.most_common()]
    facts += [f"{state['jobs']} at once", *(["paused"] if state["paused"] else [])]
    spent, reserved, budget = (cast(float | None, state[name]) for name in ("spent", "reserved", "budget"))
    facts.append(f"{money(spent)} spent" + (f", {money(reserved)} reserved of {money(budget)}" if budget else ""))
    nodes: Any = state["nodes"]
    facts += (
        f"{node['at_work']} on {node['name']}" if node["answers"] else f"waiting for {node['name']}" for node in nodes
    )
    console.print(" · ".join(facts), soft_wrap=True)
    if tasks:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for title in ("task", "state", "turns", "cost", "time", *(["node"] if nodes else [])):
            table.add_column(title, overflow="fold")
        for task in listed:
            known = "turns" in task
            more = [str(task["turns"]), money(task["cost"]), duration(task["seconds"])] if known else [""] * 3
            more += [str(task.get("node", ""))] if nodes else []
            table.add_row(Text(visible(str(task["id"]), newlines=False)), status_words(str(task["state"])), *more)
        console.print(table)


def _tally(results: Sequence[RunResult]) -> str:
    statuses = Counter(status_words(result.status) for result in results)
    return "\n".join(f"{number} {status}" for status, number in statuses.most_common())


def _checks(result: RunResult) -> str:
    passed = sum(check.exit_code == 0 for check in result.checks)
    return f"{passed} of {len(result.checks)}" if result.checks else "none"


def _total_cost(results: Sequence[RunResult]) -> str:
    """A sum that leaves out unknown costs says so."""
    known = [result.cost for result in results if result.cost is not None]
    unknown = len(results) - len(known)
    return money(sum(known)) + (f"\n+ {unknown} unknown" if unknown else "")
