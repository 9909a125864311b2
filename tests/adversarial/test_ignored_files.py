"""Ignored files (`.env`, keys, dumps) stay with the user unless asked for, and never come back in a commit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.conftest import BACKENDS
from tests.e2e.running import REPORT, Desk

from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

LOOK = "cat .env keys/id_rsa deep/.env 2>&1; echo done > done.txt; echo 1 >> .env; git status --short"
CHECK = "grep -q HIDDEN .env && test -x keys/run"


def desk_with_ignored_files(folder: Path) -> Desk:
    desk = Desk(folder)
    files = {
        ".gitignore": ".env\nkeys/\n",
        ".env": "A=HIDDEN-1\n",
        "deep/.env": "B=HIDDEN-2\n",
        "keys/id_rsa": "HIDDEN-3\n",
    }
    for name, text in {**files, "keys/id_rsa": "HIDDEN-3\n", "keys/run": "HIDDEN-4\n", "deep/x": "x\n"}.items():
        (desk.repo / name).parent.mkdir(exist_ok=True)
        (desk.repo / name).write_text(text)
    (desk.repo / "keys/run").chmod(0o755)
    desk.git("add", ".")
    desk.git("-c", "user.name=U", "-c", "user.email=u@example.invalid", "commit", "-q", "-m", "Ignore")
    return desk


async def look(desk: Desk, backend: str, *arguments: str) -> tuple[int, str, str]:
    """The exit code, what was printed, and what the agent's command saw."""
    async with ScriptedApi([Turn([tool_use("Bash", {"command": LOOK})]), Turn([REPORT]), "Done."]) as api:
        code, printed = await desk.call(api, *desk.arguments(backend, *arguments))
        return code, printed, str(api.requests[1].body["messages"][-1])


@pytest.mark.parametrize("backend", BACKENDS)
async def test_they_stay_out_and_it_is_said(tmp_path: Path, backend: str) -> None:
    _, printed, seen = await look(desk_with_ignored_files(tmp_path), backend)
    assert "HIDDEN" not in printed + seen
    assert ".env: ignored by git" in printed


@pytest.mark.parametrize("backend", BACKENDS)
async def test_asked_for_they_are_there_in_work_and_proof_and_come_out_of_neither(tmp_path: Path, backend: str) -> None:
    desk = desk_with_ignored_files(tmp_path)
    before = desk.tree()
    code, printed, seen = await look(desk, backend, "--include", ".env", "--include", "keys", "--check", CHECK)
    assert (code, desk.tree()) == (0, before), printed
    assert all(f"HIDDEN-{number}" in seen for number in (1, 2, 3))
    assert "?? done.txt" in seen
    run = desk.runs[-1]
    assert desk.git("diff", "--name-only", f"main..dockwright/{run.name}").split() == ["done.txt"]
    assert "HIDDEN" not in desk.git("log", "-p", f"dockwright/{run.name}") + (run / "changes.patch").read_text()


async def test_a_pattern_that_matches_nothing_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    code, printed = await desk_with_ignored_files(tmp_path).run(["never"], "--include", "*.evn", backend="bubblewrap")
    assert (code, "--include *.evn: no ignored file" in printed) == (2, True)


def test_a_copied_folder_has_them(tmp_path: Path) -> None:
    desk = desk_with_ignored_files(tmp_path)
    shutil.copytree(desk.repo, tmp_path / "copy")
    assert "HIDDEN-1" in (tmp_path / "copy/.env").read_text()
