"""A workspace inside a sandbox: the agent finds a clean repository with its history, and nothing of the host's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.repositories import git, new_repository, write

from dockwright.errors import SandboxError
from dockwright.sandbox import Sandbox
from dockwright.workspace import snapshot


async def inside(sandbox: Sandbox, *arguments: str) -> str:
    """What our git says in the agent's repository."""
    result = await sandbox.exec([f"{sandbox.runtime}/bin/git", *arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo")


async def test_the_agent_finds_its_branch_history_and_a_clean_status(
    sandbox: Sandbox, repo: Path, tmp_path: Path
) -> None:
    git(repo, "checkout", "-q", "-b", "feature/orders")
    git(repo, "commit", "-q", "--allow-empty", "-m", "Second")
    git(repo, "remote", "add", "origin", "https://token@example.com/x.git")
    git(repo, "branch", "private")
    git(repo, "tag", "v1")
    (repo / "run").write_bytes(b"#!/bin/sh\n")
    (repo / "run").chmod(0o755)
    (repo / "link").symlink_to("README.md")
    workspace = await snapshot(repo, tmp_path / "state")

    await workspace.enter(sandbox)

    assert await inside(sandbox, "status", "--porcelain", "--branch") == "## feature/orders"
    assert await inside(sandbox, "log", "--format=%s") == "Uncommitted work carried in\nSecond\nStart"
    assert await inside(sandbox, "for-each-ref", "--format=%(refname)") == "refs/heads/feature/orders"
    assert await inside(sandbox, "rev-parse", "HEAD") == workspace.base
    assert await inside(sandbox, "config", "--local", "--list") == (
        "core.repositoryformatversion=0\ncore.bare=false\ncore.logallrefupdates=true\n"
        "user.name=dockwright\nuser.email=noreply@dockwright.invalid"
    )
    assert await sandbox.read("/workspace/README.md") == b"# Orders\n"
    assert ((await sandbox.stat("/workspace/run")).mode & 0o111, (await sandbox.stat("/workspace/link")).target) == (
        0o111,
        "README.md",
    )
    with pytest.raises(FileNotFoundError):
        await sandbox.stat("/workspace/.git/hooks")


async def test_the_agent_can_commit_branch_and_repack(sandbox: Sandbox, repo: Path, tmp_path: Path) -> None:
    await (await snapshot(repo, tmp_path / "state")).enter(sandbox)
    await sandbox.write("/workspace/new.txt", b"new\n")
    await inside(sandbox, "checkout", "-q", "-b", "mine")
    await inside(sandbox, "add", "-A")
    await inside(sandbox, "commit", "-q", "-m", "Mine")
    await inside(sandbox, "fsck", "--strict")
    assert await inside(sandbox, "log", "--format=%an %s") == "dockwright Mine\nUser Start"


async def test_an_earlier_commit_can_be_entered_instead(sandbox: Sandbox, repo: Path, tmp_path: Path) -> None:
    write(repo, {"README.md": b"# Later\n"})
    workspace = await snapshot(repo, tmp_path / "state")
    await workspace.enter(sandbox, workspace.head)
    assert await sandbox.read("/workspace/README.md") == b"# Orders\n"
    assert await inside(sandbox, "status", "--porcelain") == ""


async def test_an_empty_folder_is_an_empty_repository_with_one_commit(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    workspace = await snapshot(tmp_path / "empty", tmp_path / "state")
    await workspace.enter(sandbox)
    assert await inside(sandbox, "log", "--format=%s") == "Start with nothing"
    assert await inside(sandbox, "status", "--porcelain", "--branch") == "## main"


async def test_a_shallow_history_stays_shallow(sandbox: Sandbox, repo: Path, tmp_path: Path) -> None:
    for number in range(3):
        git(repo, "commit", "-q", "--allow-empty", "-m", f"Step {number}")
    git(tmp_path, "clone", "-q", "--depth=2", f"file://{repo}", "shallow")
    workspace = await snapshot(tmp_path / "shallow", tmp_path / "state")
    await workspace.enter(sandbox)
    assert await inside(sandbox, "log", "--format=%s") == "Step 2\nStep 1"
    await inside(sandbox, "fsck", "--strict")


async def test_a_sha256_repository_works(sandbox: Sandbox, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "--object-format=sha256")
    write(repo, {"a": b"a"})
    workspace = await snapshot(repo, tmp_path / "state")
    await workspace.enter(sandbox)
    await sandbox.write("/workspace/b", b"b")
    done = await workspace.checkpoint(sandbox, "b")
    assert (await inside(sandbox, "rev-parse", "HEAD"), len(done.commit)) == (workspace.base, 64)
    assert await workspace.changed_files(done.commit) == ("b",)


async def test_odd_names_and_submodules_leave_a_clean_status(sandbox: Sandbox, repo: Path, tmp_path: Path) -> None:
    write(repo, {"with space": b"x", "caf\xe9": b"x", 'quo"te': b"x", "new\nline": b"x", "-rf": b"x"})
    git(repo, "submodule", "--quiet", "add", str(new_repository(tmp_path / "library")), "lib")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Odd")
    workspace = await snapshot(repo, tmp_path / "state")
    await workspace.enter(sandbox)
    assert await inside(sandbox, "status", "--porcelain") == ""
    assert await workspace.checkpoint(sandbox, "nothing") == workspace.last
    assert workspace.last.commit == workspace.head


async def test_a_sandbox_that_is_too_small_says_so(sandbox: Sandbox, repo: Path, tmp_path: Path) -> None:
    workspace = await snapshot(repo, tmp_path / "state")
    await sandbox.exec(["sh", "-c", "mkdir README.md && touch README.md/x && chmod 500 README.md"])
    try:
        with pytest.raises(SandboxError, match="could not be laid out in the sandbox"):
            await workspace.enter(sandbox)
    finally:
        await sandbox.exec(["chmod", "700", "README.md"])
