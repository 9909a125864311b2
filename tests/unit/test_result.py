from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest
from pydantic import ValidationError

from dockwright.errors import ExitCode
from dockwright.events import (
    Answered,
    CheckFinished,
    Delivered,
    Event,
    Noted,
    Prompted,
    ProofStarted,
    Reported,
    Restored,
    RunFinished,
    RunStarted,
    SandboxStarted,
    Status,
    TextDelta,
    ToolFinished,
    ToolStarted,
    TurnStarted,
    Usage,
    from_line,
    to_line,
)
from dockwright.result import RunResult, exit_code_of, meaning

NINE = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)


def at(second: float) -> datetime:
    return NINE + timedelta(seconds=second)


def answered(second: float, turn: int, cost: float | None = 0.25) -> Answered:
    return Answered(
        at=at(second),
        turn=turn,
        id=f"msg_{turn}",
        model="claude-opus-5-5",
        content=(),
        stop_reason="tool_use",
        usage=Usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=100, cache_creation_input_tokens=1),
        cost=cost,
        seconds=1.0,
    )


def called(second: float, turn: int, name: str, *, is_error: bool = False) -> ToolFinished:
    return ToolFinished(at=at(second), turn=turn, id="toolu_1", name=name, content="", is_error=is_error, seconds=0.1)


CHECK = CheckFinished(at=at(20), command="pytest -q", exit_code=0, output="14 passed", seconds=2.5)
NOTE = Noted(at=at(6), level="warning", text="telemetry.example.org:443 was denied")
DELIVERED = Delivered(
    at=at(21),
    branch="dockwright/0k3f",
    commit="c" * 40,
    patch="/runs/0k3f/changes.patch",
    files=2,
    insertions=30,
    deletions=4,
    left_out=("shop.db",),
)


def events() -> Iterator[Event]:
    yield RunStarted(
        at=at(0),
        run="0k3f",
        version="0.1.0",
        task="Add an orders service",
        agent="backend-engineer",
        agent_sha256="0" * 64,
        model="claude-opus-5-5",
        repo="/home/ada/shop",
        base="b" * 40,
    )
    yield Prompted(at=at(1), content=({"type": "text", "text": "Add an orders service"},))
    yield TurnStarted(at=at(1), turn=1)
    yield TextDelta(at=at(2), kind="text", text="I will")
    yield ToolStarted(at=at(3), turn=1, id="toolu_1", name="Read", input={"file_path": "/workspace/app.py"})
    yield answered(3, 1)
    yield called(4, 1, "Read")
    yield called(5, 1, "Bash", is_error=True)
    yield NOTE
    yield TurnStarted(at=at(7), turn=2)
    yield answered(8, 2)
    yield called(9, 2, "Bash")
    yield Reported(at=at(10), summary="First try", sections={})
    yield Reported(at=at(11), summary="Orders service", sections={"API ARCHITECTURE": {"API Style": "REST"}})
    yield SandboxStarted(
        at=at(12), purpose="proof", backend="docker", id="dw", image="workbench", network="none", seconds=0.5
    )
    yield CHECK
    yield DELIVERED
    yield RunFinished(at=at(22), status="verified", exit_code=0)


def test_a_finished_run_folds_to_one_value() -> None:
    assert RunResult.from_events(events()) == RunResult(
        run="0k3f",
        status="verified",
        exit_code=0,
        reason="",
        task="Add an orders service",
        agent="backend-engineer",
        model="claude-opus-5-5",
        repo="/home/ada/shop",
        base="b" * 40,
        branch="dockwright/0k3f",
        commit="c" * 40,
        patch="/runs/0k3f/changes.patch",
        summary="Orders service",
        sections={"API ARCHITECTURE": {"API Style": "REST"}},
        checks=(CHECK,),
        delivered=DELIVERED,
        usage=Usage(input_tokens=20, output_tokens=10, cache_read_input_tokens=200, cache_creation_input_tokens=2),
        cost=0.5,
        turns=2,
        tool_calls={"Read": 1, "Bash": 2},
        tool_errors=1,
        started=at(0),
        seconds=22.0,
        notes=(NOTE,),
        left_out=("shop.db",),
    )


def test_the_fold_is_the_same_from_the_lines_of_a_journal() -> None:
    lines = [to_line(event) for event in events() if event.durable]
    assert RunResult.from_events(map(from_line, lines)) == RunResult.from_events(events())


def test_a_result_survives_being_written_as_json() -> None:
    result = RunResult.from_events(events())
    assert RunResult.model_validate_json(result.model_dump_json()) == result


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        RunResult().__setattr__("turns", 3)


@pytest.mark.parametrize("length", range(18))
def test_a_run_without_its_last_event_is_interrupted(length: int) -> None:
    result = RunResult.from_events(list(events())[:length])
    assert (result.status, result.exit_code, result.reason) == ("interrupted", 130, "the run has not ended")


def test_one_unknown_cost_makes_the_sum_unknown() -> None:
    assert RunResult.from_events([answered(0, 1), answered(1, 2, None), answered(2, 3)]).cost is None


def test_a_run_that_is_taken_up_again_has_not_ended() -> None:
    stopped = RunFinished(at=at(30), status="limit", exit_code=5, reason="40 turns")
    again = TurnStarted(at=at(40), turn=3)
    assert RunResult.from_events([*events(), stopped]).status == "limit"
    assert RunResult.from_events([*events(), stopped, again]).status == "interrupted"


def test_a_second_proof_replaces_the_checks_of_the_first() -> None:
    check = list(events())[15]
    proof = ProofStarted(commit="c")
    failed = CHECK.model_copy(update={"exit_code": 1})
    assert RunResult.from_events([proof, failed, proof, check]).checks == (CHECK,)


def test_undoing_turns_gives_no_money_back() -> None:
    undone = Restored(at=at(9), turn=1, commit="d" * 40)
    result = RunResult.from_events([answered(0, 1), answered(1, 2), undone])
    assert (result.turns, result.cost) == (2, 0.5)


def test_a_clock_that_goes_back_gives_no_negative_time() -> None:
    assert RunResult.from_events([answered(60, 1), answered(0, 2)]).seconds == 0.0


def test_every_status_has_its_exit_code() -> None:
    assert {status: exit_code_of(status) for status in get_args(Status)} == {
        "verified": ExitCode.OK,
        "done": ExitCode.OK,
        "checks_failed": ExitCode.CHECKS_FAILED,
        "unverified": ExitCode.UNVERIFIED,
        "limit": ExitCode.LIMIT,
        "refused": ExitCode.REFUSED,
        "model_error": ExitCode.MODEL,
        "sandbox_lost": ExitCode.SANDBOX,
        "config_error": ExitCode.CONFIG,
        "interrupted": ExitCode.INTERRUPTED,
        "bug": ExitCode.BUG,
    }


def test_every_status_has_a_sentence_of_its_own() -> None:
    sentences = [meaning(status) for status in get_args(Status)]
    assert len(set(sentences)) == len(sentences)
    assert all(sentence[0].isupper() and sentence.endswith(".") for sentence in sentences)
