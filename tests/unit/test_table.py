import io

from rich.console import Console

from dockwright.events import CheckFinished
from dockwright.result import RunResult
from dockwright.ui.table import SummaryTable


def drawn(results: list[RunResult], width: int = 100) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width).print(SummaryTable(results))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def checks(*exit_codes: int | None) -> tuple[CheckFinished, ...]:
    return tuple(CheckFinished(command="pytest", exit_code=code, output="", seconds=1) for code in exit_codes)


def test_each_run_is_a_line_and_the_last_lines_are_the_sums() -> None:
    verified = RunResult(
        run="orders",
        status="verified",
        checks=checks(0, 0),
        turns=12,
        cost=0.84,
        seconds=250,
        task="Add orders\nwith tests",
    )
    failed = RunResult(
        run="billing", status="checks_failed", checks=checks(0, 1, None), turns=30, cost=None, seconds=3700
    )
    assert drawn([verified, failed, verified.model_copy(update={"run": "[b]\x1b\n"})]) == [
        "run        status           checks  turns         cost        time  task",
        "orders     verified         2 of 2     12        $0.84  4 min 10 s  Add orders",
        "billing    checks failed    1 of 3     30      unknown  1 h 01 min",
        r"[b]\x1b\n  verified         2 of 2     12        $0.84  4 min 10 s  Add orders",
        "3 runs     2 verified                  54        $1.68  1 h 10 min",
        "           1 checks failed                 + 1 unknown",
    ]


def test_no_runs_have_sums_of_nothing() -> None:
    assert drawn([]) == [
        "run     status  checks  turns   cost  time  task",
        "0 runs                      0  $0.00   0 s",
    ]


def test_a_long_task_gets_what_room_is_left_and_a_narrow_screen_shows_what_matters_most() -> None:
    run = RunResult(run="b0c901f7", status="checks_failed", checks=checks(0, 1), turns=7, cost=0.06, seconds=152,
                    task="Build a presence service: " + "long " * 50)  # fmt: skip
    assert drawn([run], 80)[:2] == [
        "run       status           checks  turns   cost        time  task",
        "b0c901f7  checks failed    1 of 2      7  $0.06  2 min 32 s  Build a presence s…",
    ]
    assert drawn([run], 40) == [
        "run       status           task",
        "b0c901f7  checks failed    Build a pres…",
        "1 run     1 checks failed",
    ]
