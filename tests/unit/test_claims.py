"""What a report says, cut into claims and held against the facts."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.repositories import agent_commit, new_repository

from dockwright.events import CheckFinished, Event, ProofStarted, Reported, SandboxStarted, ToolFinished, ToolStarted
from dockwright.report import judge
from dockwright.report.claims import claims_of
from dockwright.report.evidence import Ledger
from dockwright.workspace import snapshot


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("", []),
        ("REST.", [("REST.", [])]),
        ("It works [[pytest -q]].", [("It works", ["pytest -q"])]),
        ("It works. [[pytest  -q]] [[`a.py`]]", [("It works.", ["pytest -q", "a.py"])]),
        (
            "Two tables. They are keyed [[a.py]]. Backups are yours.",
            [("Two tables.", []), ("They are keyed", ["a.py"]), ("Backups are yours.", [])],
        ),
        ("REST: GET /notes, PUT /notes [[a.py]].", [("REST: GET /notes, PUT /notes", ["a.py"])]),
        ("- one [[a]]\n- two [[b]]\n- three", [("- one", ["a"]), ("- two", ["b"]), ("- three", [])]),
        ("Run [[test [[ -f x ]]]] ok", [("Run", ["test [[ -f x ]]"]), ("ok", [])]),
    ],
)
def test_a_sentence_that_ends_with_evidence_is_a_claim_of_its_own(
    text: str, claims: list[tuple[str, list[str]]]
) -> None:
    assert list(claims_of(text)) == claims


def ran(command: str, code: int = 0, output: str = "", about: str = "") -> list[Event]:
    return [
        ToolStarted(turn=1, id=command, name="Bash", input={"command": command, "description": about}),
        ToolFinished(
            turn=1, id=command, name="Bash", content=output, is_error=code != 0, details={"exit_code": code}, seconds=1
        ),
    ]


def checked(command: str, code: int) -> list[Event]:
    check = CheckFinished(command=command, exit_code=code, output="", seconds=1)
    return [ProofStarted(commit="c"), check]


WORK = SandboxStarted(purpose="work", backend="docker", id="box", image="i", network="none", seconds=1)
EVENTS: list[Event] = [
    WORK,
    *ran("pytest -q", 1, "1 failed"),
    *ran("cd x && pytest -q", 0, "9 passed", about="Run the tests"),
    *ran("npm test | tail", 0, "2 failed, 3 passed"),
    *ran("curl localhost", 7),
]


@pytest.mark.parametrize(
    ("text", "more", "verdict", "reason"),
    [
        ("All tests pass [[cd x && pytest -q]].", [], "proven", ""),
        ("All tests pass [[Run the tests]].", [], "proven", ""),
        ("All tests pass [[e2]].", [], "proven", ""),
        ("All tests pass [[pytest -q]].", [], "refuted", "its evidence failed: pytest -q ended with exit code 1"),
        ("All tests pass [[pytest -q]].", ran("pytest -q"), "proven", ""),
        ("All tests pass [[npm test]].", [], "refuted", "printed '2 failed'"),
        ("All tests pass [[src/app.py]].", [], "stated", "a file does not show that tests pass"),
        ("All tests pass.", [], "stated", "no evidence"),
        ("All tests pass.", ran("make test", 2), "refuted", "make test ended with exit code 2"),
        ("All tests pass.", checked("sh check.sh", 1), "refuted", "failed in the clean sandbox"),
        ("All tests pass.", checked("sh check.sh", 0), "stated", "no evidence"),
        ("The tests should pass.", checked("sh check.sh", 1), "stated", "no evidence"),
        ("9 passed, no tests fail [[e2]].", checked("true", 0), "proven", ""),
        ("It is refused with exit code 7 [[curl localhost]].", [], "proven", ""),
        ("The server answers [[curl localhost]].", [], "refuted", "its evidence failed"),
        ("The server is there [[curl localhost]].", [], "stated", "its evidence failed"),
        ("The app is here [[src/app.py]].", [], "proven", ""),
        ("The app is here [[/workspace/src/app.py]].", [], "proven", ""),
        ("The app is here [[src/gone.py]].", [], "refuted", "neither run nor handed over: src/gone.py"),
    ],
)
async def test_a_claim_is_what_the_facts_make_it(
    tmp_path: Path, text: str, more: list[Event], verdict: str, reason: str
) -> None:
    workspace = await snapshot(new_repository(tmp_path / "repo"), tmp_path / "state")
    commit = await agent_commit(workspace, {"new.py": b"x"})
    (claim,) = await judge(Reported(summary=text, sections={}), [*EVENTS, *more], workspace, commit)
    assert (claim.verdict, reason in claim.reason) == (verdict, True), claim


def test_evidence_is_found_by_the_beginning_of_a_part_and_by_no_word_in_the_middle() -> None:
    ledger = Ledger.of(EVENTS)
    found = {name: ledger.resolve(name) for name in ("npm test", "test", "tail", "9 passed")}
    named = {name: fact.id for name, fact in found.items() if fact}
    assert named == {"npm test": "e3", "tail": "e3"}
    fact = found["npm test"]
    assert fact is not None
    assert (fact.container, fact.exit_code) == ("box", 0)
