"""`dockwright pr` up to where GitHub's own program would come in: the branch is pushed by git, to a real remote."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.e2e.running import WORK, Desk
from tests.repositories import git


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A repository with a remote that answers each push, on a machine that has git and no gh."""
    desk = Desk(tmp_path)
    git(tmp_path, "init", "-q", "--bare", "origin.git")
    hook = tmp_path / "origin.git" / "hooks" / "post-receive"
    hook.write_text("#!/bin/sh\necho 'Open it at https://git.example/shop/new'\n")
    hook.chmod(0o755)
    desk.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    return desk


async def test_the_branch_is_pushed_and_without_gh_it_says_where_it_can_be_offered(desk: Desk) -> None:
    await desk.run(WORK, backend="bubblewrap")
    run = desk.runs[-1].name
    programs = desk.folder / "bin"
    programs.mkdir()
    (programs / "git").symlink_to(str(shutil.which("git")))
    desk.env = {"PATH": str(programs)}
    code, output = await desk.call(None, "pr", run, "--base", "main")
    assert code == 2
    assert "no pull request was opened: gh was not found in PATH" in " ".join(output.split())
    assert "Open it at https://git.example/shop/new" in output
    pushed, delivered = [
        git(place, "rev-parse", f"dockwright/{run}") for place in (desk.folder / "origin.git", desk.repo)
    ]
    assert pushed == delivered
    code, output = await desk.call(None, "pr", run, "--remote", "upstream")
    assert code == 2
    assert "`git push --` failed" in output
