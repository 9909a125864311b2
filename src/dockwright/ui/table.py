"""Many runs on one table: a line a run, and what it all came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dockwright.events import JsonObject
from dockwright.result import RunResult
from dockwright.ui.visible import visible
from dockwright.ui.words import count, duration, money, status_style, status_words


def summary_table(results: Sequence[RunResult]) -> Table:
    """In the order given."""
    table = Table(box=None, pad_edge=False, show_footer=True, header_style="dim", footer_style="bold")
    table.add_column("run", count(len(results), "run"), overflow="fold")
    table.add_column("status", _tally(results), no_wrap=True)
    table.add_column("checks", no_wrap=True)
    table.add_column("turns", str(sum(result.turns for result in results)), justify="right", no_wrap=True)
    table.add_column("cost", _total_cost(results), justify="right", no_wrap=True)
    table.add_column("time", duration(sum(result.seconds for result in results)), justify="right", no_wrap=True)
    table.add_column("task", no_wrap=True, overflow="ellipsis")
    for result in results:
        table.add_row(
            Text(visible(result.run, newlines=False)),
            Text(status_words(result.status), status_style(result.status)),
            _checks(result),
            str(result.turns),
            "unknown" if result.cost is None else money(result.cost),
            duration(result.seconds),
            Text(visible(result.task.strip().partition("\n")[0], newlines=False)),
        )
    return table


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
