"""A run is a test: played again without a model, it comes out the same, or it is told where it does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.e2e.running import REPORT, WRITE, Desk, leftovers

from dockwright.events import Restored
from dockwright.journal import read
from dockwright.run.normal import normal
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

COMMIT = (
    "git add -A && git -c user.name=A -c user.email=a@example.invalid commit -qm one && git log --format='%h %cd %s'"
)
SCRIPT: list[Turn | str] = [
    Turn([WRITE]),
    Turn([tool_use("Bash", {"command": f"{COMMIT}; date; date +%s; mktemp -u"})]),
    Turn([tool_use("Bash", {"command": "sh app.sh; false"}), tool_use("Read", {"file_path": "/workspace/app.sh"})]),
    Turn([tool_use("Bash", {"command": "sleep 300", "run_in_background": True})]),
    Turn([tool_use("Nothing", {}), tool_use("Read", {"file": "a"}), tool_use("Glob", {"pattern": "*"})]),
    Turn([tool_use("Bash", {"command": "cat app.sh"}), tool_use("Read", {"file_path": "/workspace/app.sh"})]),
    Turn([REPORT]),
    "Done.",
]


def tampered(run: Path, copy: Path, *changes: tuple[str, str]) -> Path:
    """A copy of a run whose journal has other answers."""
    shutil.copytree(run, copy)
    journal = copy / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    for old, new in changes:
        lines = [line.replace(old, new) if '"type":"answered"' in line else line for line in lines]
    journal.write_text("".join(lines))
    return copy


async def test_a_run_is_equal_to_itself_without_its_repository_and_what_was_tampered_with_is_named(
    tmp_path: Path, backend: str
) -> None:
    desk = Desk(tmp_path)
    code, output = await desk.run(SCRIPT, backend=backend)
    assert code == 0, output
    (run,) = desk.runs
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    shutil.rmtree(desk.repo)
    assert await desk.call(None, "replay", run.name, "--check") == (0, f"{run.name}: every result is as it was.\n")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before

    changes = ("sh app.sh; false", "sh app.sh; true "), ("echo hello\\n", "echo bye\\n")
    code, output = await desk.call(None, "replay", str(tampered(run, tmp_path / "copy", *changes)), "--check")
    assert (code, output.splitlines()) == (
        3,
        [
            "diverged at turn 3: Bash exit 1 → 0",
            "diverged at turn 3: Bash, line 1: 'Exit code 1' → 'bye'",
            "diverged at turn 3: Read, line 1: '1\\techo hello' → '1\\techo bye'",
            "diverged at turn 6: Bash, line 1: 'echo hello' → 'echo bye'",
            "diverged at turn 6: Read, line 1: '1\\techo hello' → '1\\techo bye'",
        ],
    )
    assert leftovers(run.name) == []


@pytest.mark.bubblewrap
async def test_what_was_taken_back_and_taken_up_again_is_played_so(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    lines = [Turn([tool_use("Bash", {"command": f"echo {n} >> all; cat all"})]) for n in range(3)]
    script: list[Turn | str] = [Turn([WRITE]), *lines, Turn([REPORT]), "Done."]
    async with ScriptedApi(script) as api:
        assert (await desk.call(api, *desk.arguments("bubblewrap")))[0] == 0
        (run,) = desk.runs
        assert (await desk.call(api, "undo", run.name, "4"))[0] == 0
        assert (await desk.call(api, "resume", run.name))[0] == 0
    assert [event.turn for event in read(run / "journal.jsonl") if isinstance(event, Restored)] == [2]
    assert await desk.call(None, "replay", run.name, "--check") == (0, f"{run.name}: every result is as it was.\n")


@pytest.mark.docker
async def test_a_call_that_was_interrupted_is_not_played_and_a_run_is_shown_turn_by_turn(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    script: list[Turn | str] = [Turn([WRITE]), Turn([tool_use("Bash", {"command": "sleep 100"})])]
    await desk.interrupt(script, lambda api: len(api.requests) == 2)
    (run,) = desk.runs
    code, output = await desk.call(None, "replay", run.name)
    assert code == 0
    assert "Turn 2: Bash was interrupted in the run, so it is not played." in " ".join(output.split())
    assert output.index("turn 1    Write app.sh") < output.index("turn 2    Bash  sleep 100")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 passed in 0.12s", "3 passed in 1.7s"),
        ("Thu Nov 26 13:22:18 UTC 2026", "Fri Nov 27 03:02:08 UTC 2026"),
        ("-rw-r--r-- 1 a a 5 Nov 26 13:21 x", "-rw-r--r-- 1 a a 5 Nov 27 09:02 x"),
        ("[main 1234567] one", "[main a2c4e6f] one"),
        ("1234567 one\nabcdefa two", "7654321 one\n0123abc two"),
        ("at http://127.0.0.1:40123/x", "at http://127.0.0.1:51234/x"),
        ("/tmp/tmp.AbCdEf1234/x", "/tmp/tmp.0123456789/x"),
        ("pid 12, process 9", "pid 4711, process 10"),
    ],
)
def test_what_cannot_be_equal_is_left_out(one: str, other: str) -> None:
    assert normal(one, {}) == normal(other, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 passed", "2 passed"), ("12 files", "13 files"), ("at :8080", "at :8081"),
        ("1.2.3", "1.2.4"),
        ("127.0.0.1:8080", "127.0.0.1:8081"), ("defaced", "effaced"), ("/tmp/a.txt", "/tmp/b.txt"),
    ],
)  # fmt: skip
def test_what_was_done_otherwise_is_not(one: str, other: str) -> None:
    assert normal(one, {}) != normal(other, {})
