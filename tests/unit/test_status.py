import io

from rich.console import Console

from dockwright.events import Usage
from dockwright.result import RunResult
from dockwright.ui.status import StatusLine


def test_the_live_line_says_what_goes_on_in_one_line() -> None:
    result = RunResult(turns=2, cost=0.31, usage=Usage(input_tokens=40_000, output_tokens=1_200))
    shown = {}
    for width in (100, 40):
        line = StatusLine(Console(file=io.StringIO(), width=width))
        line.show("Bash  pytest -q\n\x1b[2J", result)
        line.add_output("test_1 PASSED\ntest_2 PAS")
        line.add_output("SED\n 50%\r 60%\x07")
        shown[width] = line.text(72.3).plain
    assert shown == {
        100: r"⠇ Bash  pytest -q\n\x1b[2J · 1 min 12 s · 41k tokens · $0.31 ·  60%\x07",
        40: r"⠇ Bash  pytest -q\n\x… · 1 min 12 s ·…",
    }
