import io

from rich.console import Console

from dockwright.events import CheckFinished
from dockwright.result import RunResult
from dockwright.ui.table import summary_table


def drawn(results: list[RunResult]) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=100).print(summary_table(results))
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
