"""`dockwright pr`: the branch is pushed and offered with the report; what is missing is said before that."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.e2e.running import WORK, Desk
from tests.repositories import git

# In the place of GitHub's own program: it writes down how it was called.
GH = """#!/usr/bin/env python3
import json, os, sys
with open(os.environ["GH_CALLS"], "w") as file:
    json.dump([sys.argv[1:], sys.stdin.read()], file)
print("https://github.example/shop/pull/7")
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, backend="bubblewrap")


async def test_the_branch_is_pushed_and_offered_with_the_report(desk: Desk) -> None:
    git(desk.folder, "init", "-q", "--bare", "origin.git")
    desk.git("remote", "add", "origin", str(desk.folder / "origin.git"))
    programs = desk.folder / "bin"
    programs.mkdir()
    (programs / "gh").write_text(GH)
    (programs / "gh").chmod(0o755)
    await desk.run(WORK)
    run = desk.runs[-1].name
    desk.env = {"PATH": f"{programs}:{os.environ['PATH']}", "GH_CALLS": str(desk.folder / "calls")}
    code, output = await desk.call(None, "pr", run, "--base", "main")
    assert (code, output.strip()) == (0, "https://github.example/shop/pull/7")
    assert git(desk.folder / "origin.git", "branch", "--list") == f"  dockwright/{run}"
    argv, body = json.loads((desk.folder / "calls").read_text())
    head = ["pr", "create", "--head", f"dockwright/{run}", "--title", "A program."]
    assert argv == [*head, "--body-file", "-", "--base", "main"]
    assert body.startswith(f"# Report on run {run}")


async def test_without_gh_nothing_is_pushed_and_it_says_what_to_do(desk: Desk) -> None:
    await desk.run(WORK)
    programs = desk.folder / "bin"
    programs.mkdir()
    desk.env = {"PATH": str(programs)}
    code, output = await desk.call(None, "pr", desk.runs[-1].name)
    assert code == 2
    assert "gh was not found in PATH. Install the GitHub CLI" in output
