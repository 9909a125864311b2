"""The agent's own commits: delivered one by one, with nothing of them taken on trust, or as one commit and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.repositories import git, new_repository, tree, write

from dockwright.redaction import Redaction
from dockwright.sandbox import Sandbox
from dockwright.workspace import Workspace, snapshot
from dockwright.workspace.hardened import GitError
from dockwright.workspace.own_commits import own_commits, take_own_commits

REDACTION = Redaction({"TOKEN": "hunter2-hunter2"})
COMMITS = r"""
export GIT_AUTHOR_NAME=Root GIT_AUTHOR_EMAIL=root@bank.example GIT_AUTHOR_DATE='@99999999999 +0000'
echo one > one; git add .; printf 'Add one\n\nWhy: \033[31mred\r\nRefs: 7\n' | git commit -q --cleanup=verbatim -F -
git checkout -q -b side; echo two > two; git add .; git commit -qm 'Add two'
git commit -q --allow-empty -m 'Nothing'
git checkout -q main; echo three > three; git add .; git commit -qm 'Add hunter2-hunter2'; git merge -q --no-edit side
echo rest > rest
"""
COMMIT = "git add . && git commit -qm x"
REFUSED = {
    "holds the secret TOKEN": f"echo hunter2-hunter2 > key; {COMMIT}; git rm -q key; git commit -qm y",
    "a repository of its own": f"git clone -q . sub; {COMMIT}",
    "an ignored file that was taken in": "git add -f .env; git commit -qm x; git rm -q --cached .env; git commit -qm y",
    "do not begin at the commit": "git commit -q --amend -m x; git commit -q --allow-empty -m y",
    "more than 100": "for i in $(seq 101); do printf 'commit refs/heads/main\\ncommitter E <e@e> 0 +0000\\n"
    "data 1\\nx\\n'; [ $i != 1 ] || printf 'from refs/heads/main^0\\n'; done | git fast-import --quiet",
    "not a git repository": "rm -rf .git",
}


@pytest.fixture
async def workspace(sandbox: Sandbox, tmp_path: Path) -> Workspace:
    """A repository with README.md and .gitignore, entered, and with them an ignored .env that was asked for."""
    repo = new_repository(tmp_path / "repo", {"README.md": b"# Orders\n", ".gitignore": b".env\n"})
    write(repo, {".env": b"PORT=1\n"})
    workspace = await snapshot(repo, tmp_path / "state", include=(".env",))
    await workspace.enter(sandbox)
    return workspace


async def taken(workspace: Workspace, sandbox: Sandbox, script: str) -> list[tuple[str, str]]:
    done = await sandbox.exec(["sh", "-ec", script], merge=True)
    assert done.exit_code == 0, done.stdout
    await take_own_commits(workspace, sandbox)
    return await own_commits(workspace, REDACTION)


async def test_each_is_made_anew_by_us_and_the_last_has_the_tree_that_was_kept(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    own = await taken(workspace, sandbox, COMMITS)
    kept = await workspace.checkpoint(sandbox, "x")
    made = await workspace.deliver("r1", kept.commit, "The rest", own=own, trailers="By: m", author=("Ann", "a@e.x"))
    assert made is not None
    assert made.branch == "dockwright/r1"
    assert git(workspace.repo, "rev-parse", "dockwright/r1^{tree}") == kept.tree
    told = git(workspace.repo, "log", "--reverse", "--format=%an|%cn|%P%n%B", "main..dockwright/r1")
    ids = git(workspace.repo, "rev-list", "--reverse", "main..dockwright/r1").split()
    messages = (
        "Add one\n\nWhy: [31mred\nRefs: 7\nBy: m", "Add [TOKEN]\n\nBy: m", "Merge branch 'side'\n\nBy: m",
        "The rest\n\nBy: m",
    )  # fmt: skip
    parents = zip([workspace.base, *ids], messages, strict=False)
    assert told == "\n\n".join(f"Ann|dockwright|{parent}\n{message}" for parent, message in parents)
    assert max(git(workspace.repo, "log", "--format=%at", "main..dockwright/r1").split()) < "9"
    assert set(tree(workspace.repo, "dockwright/r1~1")) == {"README.md", ".gitignore", "one", "two", "three"}


@pytest.mark.parametrize("why", REFUSED)
async def test_one_that_may_not_come_out_is_told(sandbox: Sandbox, workspace: Workspace, why: str) -> None:
    with pytest.raises(GitError, match=why):
        await taken(workspace, sandbox, REFUSED[why])
