"""What a batch shows while it goes on, in a pipe and on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from dockwright.events import SandboxStarted, ToolStarted, TurnStarted
from dockwright.result import RunResult
from dockwright.ui.board import Board, Row

VERIFIED = RunResult(
    status="verified", exit_code=0, reason="", turns=12, cost=0.84, seconds=250, branch="dockwright/0k3f"
)
FAILED = RunResult(
    status="checks_failed", exit_code=3, turns=30, cost=None, seconds=70, reason="failed: make \x1b[2J\n test"
)


def test_in_a_pipe_each_end_is_one_plain_line() -> None:
    file = io.StringIO()
    with Board(Console(file=file, width=20), 5, ["verified"]) as board:
        rows = [board.add("orders"), board.add("[b]billing")]
        board.say("5 tasks")
        board.end(rows[1], FAILED)
        board.end(rows[0], VERIFIED)

    assert file.getvalue().splitlines() == [
        "5 tasks",
        r"[2/5] [b]billing  checks failed  30 turns · cost unknown · 1 min 10 s · failed: make \x1b[2J\n test",
        "[3/5] orders  verified  12 turns · $0.84 · 4 min 10 s · dockwright/0k3f",
    ]


def test_a_row_says_what_its_task_does_now() -> None:
    row = Row("orders")
    shown = [row.line(60, 4).plain]
    for event in (
        TurnStarted(turn=3),
        ToolStarted(turn=3, id="1", name="Bash", input={"command": "pytest -q tests/very/long \x1b[2J"}),
        SandboxStarted(purpose="proof", backend="docker", id="x", image="y", network="none", seconds=1),
    ):
        row.take(event)
        shown.append(row.line(60, 4).plain)

    assert shown == [
        "  orders                    $0.00 · 4 s · starting",
        "  orders                    $0.00 · 4 s · turn 3",
        "  orders                    $0.00 · 4 s · turn 3 · Bash  py…",
        "  orders                    $0.00 · 4 s · checks",
    ]


def test_on_a_terminal_the_state_of_all_is_below_and_goes_away_at_the_end() -> None:
    file = io.StringIO()
    console = Console(file=file, width=100, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    with Board(console, 3, ["refused"]) as board:
        rows = [board.add("orders"), board.add("billing")]
        board.end(rows[0], VERIFIED)

    shown = file.getvalue()
    assert "2 of 3 · 1 refused · 1 verified · 1 running · $0.84" in shown
    assert "  billing " in shown
    assert shown.endswith("\x1b[2K")
