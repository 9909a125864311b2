"""How a run ends is told by its exit code, and 0 is a positive proof. Each row is a process of its own; the codes of a
lost sandbox (8) and of an interrupt (130) are shown where these are made, in test_run.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.e2e.running import REPORT, WORK, WRITE, Desk

from dockwright.journal import read
from dockwright.result import RunResult
from dockwright.testing.scripted_api import Fault, Script, Turn, text, tool_use

BUSY = Fault("http", status=429, error="rate_limit_error", headers={"retry-after": "0"})
SLOW = tool_use("Bash", {"command": "sleep 60"})
DEAR = Turn([WRITE], usage={"output_tokens": 10_000})

# By its name: exit code, status, script, arguments, what is said of it.
ENDS: dict[str, tuple[int, str, Script, tuple[str, ...], str]] = {
    "verified": (0, "verified", WORK, ("--check", "sh app.sh"), "Every check passed"),
    "done without a check": (0, "done", WORK, (), "nothing was proven"),
    "an unknown model under a budget": (2, "config_error", WORK, ("--model", "nobody-knows", "--budget", "1"), "price"),
    "a failed check": (3, "checks_failed", WORK, ("--check", "false"), "exit 1"),
    "a check that does not end": (3, "checks_failed", WORK, ("--check", "kill -9 $$"), "exit 137"),
    "no report": (4, "unverified", [Turn([WRITE]), "Done.", "Still done."], (), "the agent handed in no report"),
    "an empty patch": (4, "unverified", [Turn([REPORT]), "Done."], ("--check", "true"), "changed nothing"),
    "nothing said at all": (4, "unverified", [Turn([])] * 9, ("--check", "true"), "changed nothing"),
    "no turns left": (5, "limit", WORK, ("--turns", "1"), "The limit of 1 turns was reached"),
    "no money left": (5, "limit", [DEAR, *WORK[1:]], ("--budget", "0.12"), "The limit of $0.12 was reached"),
    "no time left": (5, "limit", [Turn([WRITE, SLOW]), *WORK[1:]], ("--minutes", "0.06"), "seconds was reached"),
    "a refusal": (6, "refused", [Turn([text("No.")], "refusal")], ("--check", "true"), "The model refused"),
    "a rate limit that stays": (7, "model_error", [Turn([WRITE], faults=(BUSY,) * 9)], ("--check", "true"), "429"),
    "an API that does not let us in": (7, "model_error", [Turn(faults=(Fault("http", status=401),))], (),
                                       "Set ANTHROPIC_API_KEY"),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
async def test_a_run_ends_with_the_code_of_how_it_ended(tmp_path: Path, end: str) -> None:
    code, status, script, arguments, words = ENDS[end]
    desk = Desk(tmp_path)
    settings = tmp_path / "config" / "dockwright"
    settings.mkdir(parents=True)
    (settings / "config.toml").write_text("[model]\nattempts = 3\nbackoff_seconds = 0.01\n")
    ended, output = await desk.run(script, *arguments, backend="bubblewrap")
    result = RunResult.from_events(read(desk.runs[-1] / "journal.jsonl"))
    assert (ended, result.exit_code, result.status) == (code, code, status), output
    assert words in " ".join(output.split())
    kept = end in ("no turns left", "no money left", "no time left")
    assert (result.patch is not None) == (kept or (desk.runs[-1] / "changes.patch").exists())
    if kept:
        assert "app.sh" in (desk.runs[-1] / "changes.patch").read_text()
        assert desk.git("show", f"{result.branch}:app.sh") == "echo hello\n"


@pytest.mark.parametrize(
    "arguments",
    [("run", "--no-such-flag", "x"), ("run", ""), ("run", "-a", "nobody", "x"), ("run", "--net", "a b", "x"),
     ("run", "--budget", "0", "x"), ("show", "nothing"), ("no-such-command",)],
)  # fmt: skip
async def test_a_mistake_on_the_command_line_is_told_before_anything_is_made(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    desk = Desk(tmp_path)
    code, output = await desk.call(None, *arguments)
    assert (code, desk.runs, bool(output.strip())) == (2, [], True)
