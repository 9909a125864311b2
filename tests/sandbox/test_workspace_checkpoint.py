"""Checkpoints: what the agent made comes out as checked objects, whatever else it did to its repository or ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.repositories import git, new_repository, tree, write

from dockwright.sandbox import Sandbox
from dockwright.workspace import Checkpoint, Workspace, snapshot


@pytest.fixture
async def workspace(sandbox: Sandbox, tmp_path: Path) -> Workspace:
    """A repository with README.md, src/app.py and .gitignore (*.log, build/), entered."""
    repo = new_repository(tmp_path / "repo")
    write(repo, {".gitignore": b"*.log\nbuild/\n", "kept.log": b"tracked\n"})
    git(repo, "add", "-f", "-A")
    git(repo, "commit", "-qm", "Ignore")
    workspace = await snapshot(repo, tmp_path / "state")
    await workspace.enter(sandbox)
    return workspace


BASE = {
    ".gitignore": "100644 *.log\nbuild/",
    "README.md": "100644 # Orders",
    "kept.log": "100644 tracked",
    "src/app.py": "100644 print('orders')",
}


def files(workspace: Workspace, checkpoint: Checkpoint) -> dict[str, str]:
    return tree(workspace.quarantine.folder, checkpoint.commit)


async def sh(sandbox: Sandbox, script: str) -> None:
    result = await sandbox.exec(["sh", "-ec", script])
    assert result.exit_code == 0, result.stderr


async def test_all_that_is_not_ignored_is_kept(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(
        sandbox,
        "echo new > new.txt; echo more >> kept.log; echo no > debug.log; mkdir build; echo no > build/out; "
        "rm README.md; chmod +x src/app.py; ln -s src/app.py link; mkdir -p a/b; echo deep > a/b/c; mkfifo pipe",
    )
    done = await workspace.checkpoint(sandbox, "First")
    assert files(workspace, done) == {
        ".gitignore": "100644 *.log\nbuild/",
        "a/b/c": "100644 deep",
        "kept.log": "100644 tracked\nmore",
        "link": "120000 src/app.py",
        "new.txt": "100644 new",
        "src/app.py": "100755 print('orders')",
    }
    assert done.left_out == ()
    assert git(workspace.quarantine.folder, "log", "--format=%s|%an|%ad", "-1", done.commit) == (
        "First|dockwright|Thu Jan 1 00:00:00 1970 +0000"
    )


async def test_nothing_changed_is_the_checkpoint_before(sandbox: Sandbox, workspace: Workspace) -> None:
    assert await workspace.checkpoint(sandbox, "x") == Checkpoint(workspace.base, workspace.last.tree)
    await sandbox.write("/workspace/new.txt", b"1")
    first = await workspace.checkpoint(sandbox, "First")
    assert await workspace.checkpoint(sandbox, "Second") == first


async def test_checkpoints_follow_each_other_and_equal_work_makes_equal_ones(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    ids = []
    for number in (1, 2, 3):
        await sandbox.write(f"/workspace/{number}.txt", b"x")
        ids.append((await workspace.checkpoint(sandbox, f"Step {number}")).commit)
    history = git(workspace.quarantine.folder, "log", "--format=%H", f"{workspace.base}..{ids[-1]}").split()
    assert history == ids[::-1]

    again = Workspace.load(workspace.state)
    await sh(sandbox, "find . -mindepth 1 -delete")
    again.last = Checkpoint(again.base, git(again.quarantine.folder, "rev-parse", f"{again.base}^{{tree}}"))
    await again.enter(sandbox)
    await sandbox.write("/workspace/1.txt", b"x")
    assert (await again.checkpoint(sandbox, "Step 1")).commit == ids[0]


async def test_an_edit_of_equal_size_and_time_is_seen(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(sandbox, "touch -r README.md stamp; printf '# Cheats\\n' > README.md; touch -r stamp README.md; rm stamp")
    assert files(workspace, await workspace.checkpoint(sandbox, "x"))["README.md"] == "100644 # Cheats"


async def test_what_the_agent_commits_or_stages_makes_no_difference(sandbox: Sandbox, workspace: Workspace) -> None:
    git_in = f"{sandbox.runtime}/bin/git"
    await sh(sandbox, f"echo 1 > a; {git_in} add a; {git_in} commit -qm A; echo 2 > b; {git_in} add b; echo 3 > b")
    done = await workspace.checkpoint(sandbox, "x")
    assert files(workspace, done) == BASE | {"a": "100644 1", "b": "100644 3"}
    await sh(sandbox, f"{git_in} checkout -q -b other; {git_in} reset -q --hard HEAD~1; {git_in} gc -q --prune=now")
    assert files(workspace, await workspace.checkpoint(sandbox, "y")) == BASE


@pytest.mark.parametrize(
    "breakage",
    [
        "rm -rf .git",
        "rm -rf .git && git_in init -q . && git_in commit -q --allow-empty -m Own",
        "rm -rf ~/.dockwright.git",
        "echo garbage > ~/.dockwright.git/index",
        "echo garbage > ~/.dockwright.git/HEAD",
        "touch ~/.dockwright.git/index.lock",
        "rm -rf ~/.dockwright.git/objects ~/.dockwright.git/refs",
        "rm -rf .git/objects",
        "chmod 000 ~/.dockwright.git",
        "rm -rf ~/.dockwright.git && mkfifo ~/.dockwright.git",
        "rm -rf ~/.dockwright.git && ln -s /etc ~/.dockwright.git",
    ],
)
async def test_a_broken_repository_inside_costs_nothing_of_the_work(
    sandbox: Sandbox, workspace: Workspace, breakage: str
) -> None:
    await sandbox.write("/workspace/before.txt", b"before")
    await workspace.checkpoint(sandbox, "Before")
    await sh(sandbox, breakage.replace("git_in", f"{sandbox.runtime}/bin/git -c user.name=a -c user.email=a@b"))
    await sandbox.write("/workspace/after.txt", b"after")
    done = await workspace.checkpoint(sandbox, "After")
    assert files(workspace, done) == BASE | {"before.txt": "100644 before", "after.txt": "100644 after"}
    assert done.left_out == ()
    assert await workspace.checkpoint(sandbox, "Nothing") == done


async def test_what_cannot_be_taken_now_is_named_and_taken_later(sandbox: Sandbox, workspace: Workspace) -> None:
    await sandbox.write("/workspace/new.txt", b"new")
    await sh(sandbox, "chmod 000 ~/.dockwright.git; chmod 500 ~")
    failed = await workspace.checkpoint(sandbox, "x")
    await sh(sandbox, "chmod 700 ~")
    assert failed.commit == workspace.base
    assert [line.split(":")[0] for line in failed.left_out] == ["everything since the checkpoint before"]
    done = await workspace.checkpoint(sandbox, "y")
    assert (files(workspace, done), done.left_out) == (BASE | {"new.txt": "100644 new"}, ())


async def test_forged_names_in_our_index_do_not_come_out(sandbox: Sandbox, workspace: Workspace) -> None:
    forge = """
import hashlib, os
path = os.path.expanduser("~/.dockwright.git/index")
data = open(path, "rb").read()[:-20].replace(b"AAAA/config", b".git/config")
open(path, "wb").write(data + hashlib.sha1(data).digest())
"""
    await sh(sandbox, "mkdir AAAA; echo x > AAAA/config")
    await workspace.checkpoint(sandbox, "x")
    python = [f"{sandbox.runtime}/bin/python3", "-I", "-c", forge]
    assert (await sandbox.exec(python)).exit_code == 0
    await sh(sandbox, "rm -r AAAA; echo new > new.txt")
    done = await workspace.checkpoint(sandbox, "y")
    assert files(workspace, done) == BASE | {"new.txt": "100644 new"}


async def test_hooks_filters_and_configuration_of_the_agent_do_not_run(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(
        sandbox,
        "mkdir -p .git/hooks; printf '#!/bin/sh\\ntouch /tmp/sprung\\n' > .git/hooks/post-index-change; "
        "chmod +x .git/hooks/post-index-change; cp -r .git/hooks ~/.dockwright.git/; "
        "printf '[filter \"x\"]\\n\\tclean = touch /tmp/sprung; cat\\n[core]\\n\\tfsmonitor = touch /tmp/sprung\\n' "
        "  | tee -a .git/config > ~/.gitconfig; "
        "echo '* filter=x' > .gitattributes; echo new > new.txt",
    )
    done = await workspace.checkpoint(sandbox, "x")
    assert files(workspace, done)["new.txt"] == "100644 new"
    await sh(sandbox, "rm ~/.gitconfig")
    with pytest.raises(FileNotFoundError):
        await sandbox.stat("/tmp/sprung")


async def test_a_repository_inside_the_workspace_stays_inside_and_is_named(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    git_in = f"{sandbox.runtime}/bin/git -c user.name=a -c user.email=a@b"
    made = f"{git_in} init -q 'sub*' && {git_in} -C 'sub*' commit -q --allow-empty -m x; {git_in} init -q unborn"
    await sh(sandbox, f"{made}; mkdir subway; echo kept > subway/file; echo lost > 'sub*/file'")
    done = await workspace.checkpoint(sandbox, "x")
    assert files(workspace, done) == BASE | {"subway/file": "100644 kept"}
    assert done.left_out == (
        "sub*: a repository of its own inside the workspace",
        "'unborn/' does not have a commit checked out",
    )
    await sandbox.write("/workspace/new.txt", b"new")
    again = await workspace.checkpoint(sandbox, "y")
    assert (again.left_out, files(workspace, again)["new.txt"]) == (done.left_out, "100644 new")
    assert Workspace.load(workspace.state).last == again


async def test_a_submodule_of_the_user_survives_the_agents_clone_into_it(
    sandbox: Sandbox, workspace: Workspace, tmp_path: Path
) -> None:
    library = new_repository(tmp_path / "library")
    git(workspace.repo, "submodule", "--quiet", "add", str(library), "lib")
    git(workspace.repo, "commit", "-qm", "Library")
    again = await snapshot(workspace.repo, tmp_path / "second")
    await sh(sandbox, "find . -mindepth 1 -delete")
    await again.enter(sandbox)
    git_in = f"{sandbox.runtime}/bin/git -c user.name=a -c user.email=a@b"
    await sh(sandbox, f"{git_in} init -q lib && {git_in} -C lib commit -q --allow-empty -m x; echo new > new.txt")
    done = await again.checkpoint(sandbox, "x")
    assert await again.changed_files(done.commit) == ("new.txt",)
    assert done.left_out == ("lib: a repository of its own inside the workspace",)


async def test_files_that_git_cannot_read_are_named_and_the_rest_is_kept(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    await sh(
        sandbox,
        "echo x > closed; chmod 000 closed; echo y > open; "
        "mkdir -p .GIT 'git~1'; echo z > .GIT/config; echo z > 'git~1/x'",
    )
    done = await workspace.checkpoint(sandbox, "x")
    assert files(workspace, done) == BASE | {"open": "100644 y"}
    assert {line.split(":")[0] for line in done.left_out} >= {'open("closed")', "invalid path '.GIT/config'"}
    assert any("git~1/x" in line for line in done.left_out)


async def test_caches_that_tools_make_again_stay_inside(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(
        sandbox,
        "mkdir -p src/__pycache__ node_modules .venv; touch src/__pycache__/a.pyc node_modules/x .venv/x",
    )
    assert await workspace.checkpoint(sandbox, "x") == Checkpoint(workspace.base, workspace.last.tree)


async def test_an_earlier_checkpoint_comes_back_with_new_files_gone_and_ignored_ones_kept(
    sandbox: Sandbox, workspace: Workspace
) -> None:
    await sh(sandbox, "echo 1 > one.txt; mkdir build; echo kept > build/out")
    first = await workspace.checkpoint(sandbox, "One")
    await sh(sandbox, "echo 2 > one.txt; echo 2 > two.txt; rm README.md; echo 3 > unsaved.txt")
    await workspace.checkpoint(sandbox, "Two")
    await sh(sandbox, "echo 4 > later.txt")

    assert await workspace.restore(sandbox, first) == ""
    listed = await sandbox.exec(["find", ".", "-path", "./.git", "-prune", "-o", "-type", "f", "-print"])
    assert sorted(listed.stdout.decode().split()) == [
        "./.gitignore", "./README.md", "./build/out", "./kept.log", "./one.txt", "./src/app.py",
    ]  # fmt: skip
    assert await sandbox.read("/workspace/one.txt") == b"1\n"
    assert await workspace.checkpoint(sandbox, "Nothing") == first


async def test_a_checkpoint_goes_on_in_a_new_sandbox(sandbox: Sandbox, workspace: Workspace) -> None:
    await sandbox.write("/workspace/new.txt", b"new")
    first = await workspace.checkpoint(sandbox, "First")
    resumed = Workspace.load(workspace.state)
    await sh(sandbox, "find . -mindepth 1 -delete; rm -rf ~/.dockwright.git")
    await resumed.enter(sandbox)
    await resumed.restore(sandbox, first)
    assert await sandbox.read("/workspace/new.txt") == b"new"
    assert await resumed.checkpoint(sandbox, "Nothing") == first
    status = await sandbox.exec([f"{sandbox.runtime}/bin/git", "status", "--porcelain"])
    assert status.stdout == b"?? new.txt\n"


async def test_a_delivery_tells_what_stayed_inside(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(sandbox, "echo x > closed; chmod 000 closed; echo y > open; ln -s /etc/passwd out")
    done = await workspace.checkpoint(sandbox, "x")
    delivered = await workspace.deliver("r1", done.commit, "Change", trailers="Assisted-by: dockwright:m")
    assert delivered is not None
    assert (delivered.branch, delivered.files, delivered.left_out) == ("dockwright/r1", 2, done.left_out)
    assert delivered.notes == ("out is a link that leads out of the repository, to /etc/passwd",)
    assert tree(workspace.repo, "dockwright/r1") == BASE | {"open": "100644 y", "out": "120000 /etc/passwd"}
