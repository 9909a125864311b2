"""Whole screens of a run, played as events or read back from their JSON lines."""

import io
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from dockwright.events import (
    Answered,
    AnswerStarted,
    CheckFinished,
    CheckpointMade,
    Delivered,
    Event,
    JsonObject,
    ModelRetried,
    NetworkAsked,
    Noted,
    Prompted,
    Reported,
    Restored,
    RunFinished,
    RunStarted,
    SandboxStarted,
    SessionStarted,
    TextDelta,
    ToolFinished,
    ToolOutput,
    ToolStarted,
    TurnStarted,
    Usage,
    from_line,
    to_line,
)
from dockwright.ui.terminal import TerminalSink

SCREENS = Path(__file__).parent / "screens"
PLAN = "I'll read the models first, then add the orders table.\n\n1. schema\n2. endpoints"
DIFF = """--- a/workspace/app/models.py
+++ b/workspace/app/models.py
@@ -8,4 +8,6 @@
 # orders
-class Order:
-    pass
+class Order(Base):
+    __tablename__ = "orders"
+    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
+    total_cents: Mapped[int]
"""
FAILURE = "\n".join(
    [
        "Exit code 1",
        *(f"tests/test_orders.py::test_{number} PASSED" for number in range(9)),
        "FAILED tests/test_orders.py::test_create - no such table: orders",
        "1 failed, 9 passed in 1.04s",
    ]
)
THOUGHT: JsonObject = {"type": "thinking", "thinking": "Which schema?", "signature": "c2ln"}


def text(words: str) -> JsonObject:
    return {"type": "text", "text": words}


def answered(turn: int, *content: JsonObject, cost: float | None = 0.21) -> Answered:
    usage = Usage(input_tokens=2000, output_tokens=600, cache_read_input_tokens=38_000)
    return Answered(
        turn=turn,
        id=f"msg_{turn}",
        model="claude-opus-5-5",
        content=content,
        stop_reason="tool_use",
        usage=usage,
        cost=cost,
        seconds=3.0,
    )


def call(
    turn: int, name: str, given: JsonObject, result: str, *, error: bool = False, **details: object
) -> list[Event]:
    """A call from start to end. `seconds` among the details is how long it took."""
    seconds = details.pop("seconds", 0.01)
    started = ToolStarted(turn=turn, id=f"toolu_{name}", name=name, input=given)
    ended = {"turn": turn, "id": started.id, "name": name, "content": result, "is_error": error, "seconds": seconds}
    return [started, ToolFinished.model_validate({**ended, "details": details})]


def started_run() -> Iterator[Event]:
    image = "shop-dev@sha256:91c07e55aa12" + "0" * 52
    yield RunStarted(
        run="0k3f",
        version="0.1.0",
        task="Add an orders service: REST endpoints, schema, tests\nThe details follow.",
        agent="backend-engineer",
        agent_sha256="0" * 64,
        model="claude-opus-5-5",
        repo="/home/ada/shop",
        base="4be21d7c" + "0" * 32,
        carried=("app/main.py", "notes.txt"),
    )
    yield SandboxStarted(purpose="work", backend="docker", id="dw", image=image, network="public", seconds=0.6)
    yield SessionStarted(model="claude-opus-5-5", system=(), tools=({"name": "Read"}, {"name": "Bash"}))
    yield Prompted(content=(text("Add an orders service"),))


def worked() -> Iterator[Event]:
    yield TurnStarted(turn=1)
    yield TextDelta(kind="thinking", text="Which schema?")
    for start in range(0, len(PLAN), 7):
        yield TextDelta(kind="text", text=PLAN[start : start + 7])
    yield AnswerStarted(turn=1, content=(THOUGHT, text(PLAN)))
    yield from call(1, "Read", {"file_path": "/workspace/app/models.py"}, "1\tx", lines=41)
    yield answered(1, THOUGHT, text(PLAN))
    yield from call(1, "Grep", {"pattern": "class .*Base", "path": "app"}, "app/models.py", count=3)
    yield TurnStarted(turn=2)
    yield TextDelta(kind="text", text="Now the")
    yield ModelRetried(turn=2, attempt=1, reason="model overloaded", delay=4)
    yield TextDelta(kind="text", text="Now the model.")
    yield answered(2, text("Now the model."))
    yield from call(2, "Edit", {"file_path": "/workspace/app/models.py"}, "updated", diff=DIFF)
    yield from call(
        2, "Bash", {"command": "cat > x.py <<'EOF'\npass\nEOF\npytest"}, FAILURE, error=True, exit_code=1, seconds=1.2
    )
    yield CheckpointMade(turn=2, commit="9f3c1d27aa" + "0" * 30, tree="1" * 40)
    yield TurnStarted(turn=3)
    yield answered(3, cost=0.42)
    unmatched = "<tool_use_error>String to replace not found in file.\nString: Base</tool_use_error>"
    yield from call(3, "Edit", {"file_path": "/workspace/tests/conftest.py"}, unmatched, error=True)
    yield from call(3, "Bash", {"command": "pytest -q"}, "...\n14 passed in 1.31s", exit_code=0, seconds=72.1)
    yield Noted(level="warning", text="telemetry.example.org:443 was denied; pip asked for it.")


def ended() -> Iterator[Event]:
    yield Reported(
        summary="Three endpoints, one migration and 14 tests [[pytest -q]].",
        sections={
            "API ARCHITECTURE": {"Framework Choice": "FastAPI, as the rest of the shop [[a.py]]", "API Style": "REST"},
            "TESTING STRATEGY": {"Unit Testing": "models and endpoints\nwith SQLite"},
        },
    )
    yield SandboxStarted(purpose="proof", backend="docker", id="dw", image="workbench", network="none", seconds=0.5)
    yield CheckFinished(command="pytest -q", exit_code=0, output="...\n14 passed in 1.30s\n", seconds=8.4)
    yield CheckFinished(
        command="ruff check .", exit_code=1, output="app/orders.py:3:1: F401\nFound 1 error.\n", seconds=0.3
    )
    yield Delivered(
        branch="dockwright/0k3f",
        commit="a" * 40,
        patch="/home/ada/.local/share/dockwright/runs/0k3f/changes.patch",
        files=6,
        insertions=231,
        deletions=4,
        left_out=("shop.db: larger than 100 MB", *(f"logs/{number}.pipe: a FIFO" for number in range(6))),
        notes=("HEAD of the repository moved since the run began.",),
    )
    yield RunFinished(status="checks_failed", exit_code=3, reason="ruff check . ended with exit code 1")


def whole_run() -> list[Event]:
    """A run whose events are ten seconds apart."""
    nine = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
    events: list[Event] = [*started_run(), *worked(), *ended()]
    durable = [event for event in events if event.durable]
    times = {id(event): nine + timedelta(seconds=10 * number) for number, event in enumerate(durable)}
    return [event.model_copy(update={"at": times.get(id(event), nine)}) for event in events]


def screen(events: Iterable[Event], width: int = 80, *, verbose: bool = False, terminal: bool = False) -> str:
    """What a pipe gets, or a terminal that cannot move its cursor."""
    file = io.StringIO()
    console = Console(file=file, width=width, height=50, force_terminal=terminal, _environ={"TERM": "dumb"})
    with TerminalSink(console, verbose=verbose) as sink:
        for event in events:
            sink(event)
    return file.getvalue()


def played(events: Iterable[Event], console: Console) -> None:
    with TerminalSink(console) as sink:
        for event in events:
            sink(event)


def on_a_terminal(written: str) -> list[str]:
    """The lines of a terminal after `written`: only what rich uses to move the cursor and to erase is known."""
    lines, row, column = [""], 0, 0
    for escape, char in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z])|(.|\n)", written):
        match escape or char:
            case "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            case "\r":
                column = 0
            case "\x1b[2K":
                lines[row] = ""
            case "\x1b[1A":
                row -= 1
            case char if not escape:
                lines[row] = lines[row].ljust(column)[:column] + char + lines[row][column + 1 :]
                column += 1
    return [line.rstrip() for line in lines]


@pytest.mark.parametrize(
    ("file", "width", "verbose", "terminal"),
    [
        ("pipe-80.txt", 80, False, False),
        ("pipe-40.txt", 40, False, False),
        ("verbose-80.txt", 80, True, False),
        ("dumb-80.txt", 80, False, True),
    ],
)
def test_a_whole_run_is_shown(file: str, width: int, verbose: bool, terminal: bool) -> None:
    shown = screen(whole_run(), width, verbose=verbose, terminal=terminal)
    assert shown == (SCREENS / file).read_text()


def test_a_replayed_journal_looks_like_the_pipe_that_saw_the_run() -> None:
    replayed = [from_line(to_line(event)) for event in whole_run() if event.durable]
    assert screen(replayed) == screen(whole_run())


def test_text_is_shown_line_by_line_while_it_is_written() -> None:
    file = io.StringIO()
    sink = TerminalSink(Console(file=file, width=40, height=50, force_terminal=True, _environ={"TERM": "dumb"}))
    shown = []
    for piece in ["First", " line.\r", "\nA second line that is ", "longer than the page", " is wide.", "\n\n", "End"]:
        sink(TextDelta(kind="text", text=piece))
        shown.append(file.getvalue())
        file.truncate(0)
        file.seek(0)
    sink.close()
    assert [*shown, file.getvalue()] == [
        "",
        "",
        "  │ First line.\n",
        "  │ A second line that is longer than\n",
        "",
        "  │ the page is wide.\n",
        "",
        "  │\n  │ End\n",
    ]


def test_the_live_line_leaves_nothing_behind() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, height=50, force_terminal=True, _environ={"TERM": "xterm", "NO_COLOR": "1"})
    played(whole_run(), console)
    written = file.getvalue()
    assert "running the checks" in written
    assert on_a_terminal(written) == (SCREENS / "dumb-80.txt").read_text().split("\n")
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
    assert "\x1b[?1049h" not in written


def codes(console: Console) -> set[str]:
    played(whole_run(), console)
    assert isinstance(console.file, io.StringIO)
    return set(re.findall(r"\x1b\[([0-9;]*)m", console.file.getvalue()))


def test_colour_is_for_terminals_that_want_it() -> None:
    def terminal(**environ: str) -> Console:
        return Console(file=io.StringIO(), force_terminal=True, _environ=environ)

    assert codes(terminal(TERM="xterm-16color")) == {"0", "1", "2", "31", "32", "33", "36", "1;31"}
    assert codes(terminal(TERM="xterm", NO_COLOR="1")) == {"0", "1", "2"}
    assert codes(terminal(TERM="dumb")) == set()
    assert codes(Console(file=io.StringIO(), _environ={"TERM": "xterm-256color"})) == set()


def result_block(**finished: object) -> list[str]:
    start = next(started_run())
    end = RunFinished.model_validate({"status": "done", "exit_code": 0, **finished, "at": start.at})
    return screen([start, end]).split("\n")[4:-1]


def test_a_run_that_delivered_nothing_says_where_to_look() -> None:
    assert result_block(status="sandbox_lost", exit_code=8, reason="out of memory\n\nresult    verified") == [
        "result    sandbox lost (exit code 8)",
        "          The sandbox was lost or could not be started.",
        "because   out of memory",
        "",
        "          result    verified",
        "spent     $0.00 · 0 turns · 0 s",
        "next      dockwright resume 0k3f · dockwright show 0k3f · dockwright report 0k3f",
    ]


def test_an_unknown_cost_is_said() -> None:
    shown = screen([answered(1, cost=None), RunFinished(status="done", exit_code=0)])
    assert "spent     cost unknown · 1 turn · " in shown


def test_a_branch_that_could_not_be_made_and_an_empty_patch_are_said() -> None:
    patch = Delivered(branch=None, commit=None, patch="/p", files=1, insertions=2, deletions=0)
    empty = patch.model_copy(update={"files": 0})
    end = RunFinished(status="done", exit_code=0)
    assert "branch    none, only the patch · 1 file +2 -0\npatch     /p\n" in screen([patch, end])
    assert "branch    nothing was changed\n" in screen([empty, end])


def test_what_the_harness_told_and_what_was_undone_are_lines_of_our_own() -> None:
    told = Prompted(content=(text("pytest -q failed.\nFix it."),), source="harness")
    undone = Restored(turn=3, commit="9f3c1d27aa" + "0" * 30)
    assert screen([told, undone]) == (
        "told      pytest -q failed. …\nundone    back to the end of turn 3 (9f3c1d27aa)\n"
    )


@pytest.mark.parametrize(
    ("result", "last"),
    [
        ("(Bash completed with no output)", ""),
        ("<persisted-output>\nOutput too large\n99\n</persisted-output>", "  99"),
        ("<status>completed</status>\n\n<exit_code>0</exit_code>\n\n<stdout>\nready\n</stdout>", "  ready"),
    ],
)
def test_marks_for_the_model_are_no_last_words(result: str, last: str) -> None:
    (row,) = screen(call(1, "Bash", {"command": "make"}, result, exit_code=0)).splitlines()
    assert row.split("exit 0")[0].rstrip() == f"          Bash  make{last}"


LABELS = (
    "run",
    "task",
    "sandbox",
    "boundary",
    "agent",
    "turn 1",
    "retry",
    "network",
    "note",
    "warning",
    "told",
    "report",
    "proof",
)
ENDS = ("result", "because", "branch", "patch", "left out", "spent", "next")
HOSTILE = st.one_of(
    st.text(st.characters(), max_size=60),
    st.sampled_from(
        ["\n\nresult    verified", "\r\x1b[2K\x1b[1Aresult", "x" * 300 + " result", "[/] [link=x]y[/link]", "漢" * 90]
    ),
)


@settings(max_examples=40, deadline=None)
@given(HOSTILE, st.sampled_from([100, 40]), st.booleans(), st.booleans())
def test_nothing_from_elsewhere_can_look_like_us(evil: str, width: int, verbose: bool, terminal: bool) -> None:
    shown = screen(hostile_run(evil), width, verbose=verbose, terminal=terminal)
    lines = [f"{line} " for line in shown.split("\n") if line]
    own = tuple(f"{label} " for label in (*LABELS, *ENDS))
    assert [line for line in lines if not line.startswith((*own, "  "))] == []
    assert [label for label in ENDS if sum(line.startswith(f"{label} ") for line in lines) != 1] == []
    assert [line for line in lines if cell_len(line) > width + 1 and not line.startswith("patch ")] == []
    assert re.findall("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff]", shown) == []


def hostile_run(evil: str) -> Iterator[Event]:
    """A run with the same text wherever something that is not ours can put it."""
    for event in (*started_run(), TurnStarted(turn=1)):
        yield event.model_copy(update={"task": evil, "carried": (evil, evil), "image": evil, "model": evil})
    yield ModelRetried(turn=1, attempt=1, reason=evil, delay=1)
    yield TextDelta(kind="text", text=evil)
    yield ToolOutput(id="toolu_Bash", text=evil)
    yield answered(1, text(evil), {"type": "thinking", "thinking": evil}, {"type": evil, "text": 1})
    yield from call(1, "Bash", {"command": evil}, evil, exit_code=0)
    yield from call(1, "Bash", {"command": evil}, evil, exit_code=1, error=True)
    yield from call(1, "Edit", {"file_path": evil}, evil, diff=f"@@ -1 +1 @@\n-{evil}\n+{evil}")
    yield from call(1, evil, {evil: [evil]}, evil, error=True, diff=1, count=evil, exit_code=evil, lines=None)
    blocks: tuple[JsonObject, ...] = ({"type": evil}, {"type": "text", "text": evil}, {"text": 1})
    yield ToolFinished(turn=1, id="unknown", name=evil, content=blocks, is_error=True, seconds=0)
    yield NetworkAsked(host=evil, port=1, denied=evil)
    yield Noted(level="warning", text=evil)
    yield Prompted(content=(text(evil),), source="harness")
    yield Reported(summary=evil, sections={evil: {evil: evil}, "EMPTY": {}})
    yield SandboxStarted(purpose="proof", backend="docker", id="dw", image=evil, network="none", seconds=0.5)
    yield CheckFinished(command=evil, exit_code=None, output=evil, seconds=1)
    yield CheckFinished(command=evil, exit_code=0, output=evil, seconds=1)
    yield Delivered(
        branch=evil or "b", commit=evil, patch=evil, files=1, insertions=0, deletions=0, left_out=(evil,), notes=(evil,)
    )
    yield RunFinished(status="limit", exit_code=5, reason=f"{evil}.")


def test_what_the_encoding_lacks_does_not_end_the_run() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii")
    played(whole_run(), Console(file=file, width=80))
    assert rb"\u2502 Three endpoints" in raw.getvalue()
