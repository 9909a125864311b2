"""The mark of a folder: whatever changes in it changes the mark, and where that is not sure there is none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.repositories import new_repository, tree

from dockwright.redaction import Redaction
from dockwright.sandbox import Sandbox
from dockwright.workspace import Workspace, snapshot, withhold

Run = Callable[[Sandbox, str], Awaitable[None]]
PUT_BACK = """
import os
was = os.stat("README.md")
with open("README.md", "r+b") as file:
    file.write(b"# Cheats")
os.utime("README.md", ns=(was.st_atime_ns, was.st_mtime_ns))
"""
SWAP = "touch -r b a; mv a c; mv b a; mv c b"
WRITE_ON = """
import itertools
with open("x", "r+b", 0) as file:
    for number in itertools.count():
        file.seek(0)
        file.write(b"%d" % (number % 9))
"""


@pytest.fixture
async def workspace(sandbox: Sandbox, tmp_path: Path) -> Workspace:
    """A repository with README.md, a, b and .gitignore (*.log), entered and looked at."""
    files = {"README.md": b"# Orders", "a": b"a", "b": b"b", ".gitignore": b"*.log\n"}
    workspace = await snapshot(new_repository(tmp_path / "repo", files), tmp_path / "state")
    await workspace.enter(sandbox)
    await workspace.checkpoint(sandbox, "First")
    return workspace


async def python(sandbox: Sandbox, script: str) -> None:
    result = await sandbox.exec([f"{sandbox.runtime}/bin/python3", "-I", "-c", script])
    assert result.exit_code == 0, result.stderr


async def sh(sandbox: Sandbox, script: str) -> None:
    result = await sandbox.exec(["sh", "-ec", script])
    assert result.exit_code == 0, result.stderr


async def started(sandbox: Sandbox) -> int:
    """How many programs the runner has started, this one included."""
    return int((await sandbox.spawn(["true"])).id.partition("-")[0])


async def programs(sandbox: Sandbox, workspace: Workspace) -> int:
    """How many programs it takes to keep the files."""
    before = await started(sandbox)
    await workspace.checkpoint(sandbox, "Again")
    return await started(sandbox) - before - 1


async def mark(sandbox: Sandbox) -> int | None:
    return await sandbox.mark("/workspace", but="/workspace/.git", most=100)


async def test_nothing_changed_starts_nothing(sandbox: Sandbox, workspace: Workspace) -> None:
    assert await programs(sandbox, workspace) == 0
    await sandbox.write("/workspace/new", b"new")
    assert await programs(sandbox, workspace) == 1
    assert await programs(sandbox, workspace) == 0


@pytest.mark.parametrize(
    ("run", "script", "path", "now"),
    [
        (python, PUT_BACK, "README.md", "100644 # Cheats"),
        (sh, SWAP, "a", "100644 b"),
        (sh, "chmod +x a", "a", "100755 a"),
        (sh, "rm a; ln -s b a", "a", "120000 b"),
        (sh, "echo x > x.log; echo '!x.log' > .gitignore", "x.log", "100644 x"),
    ],
)
async def test_a_change_is_seen(
    sandbox: Sandbox, workspace: Workspace, run: Run, script: str, path: str, now: str
) -> None:
    await run(sandbox, script)
    made = await workspace.checkpoint(sandbox, "x")
    assert tree(workspace.quarantine.folder, made.commit)[path] == now


async def test_a_change_of_the_agents_repository_alone_is_kept(sandbox: Sandbox, workspace: Workspace) -> None:
    before = workspace.last
    await sh(sandbox, f"{sandbox.runtime}/bin/git update-ref refs/heads/other HEAD")
    made = await workspace.checkpoint(sandbox, "x")
    assert (made.commit, made.git) == (before.commit, "1")
    assert (await workspace.checkpoint(sandbox, "x")).git == "1"


async def test_a_repository_that_the_agent_removed_is_known_to_be_gone(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(sandbox, "rm -rf .git")
    assert (await workspace.checkpoint(sandbox, "x")).git == "1"
    assert await programs(sandbox, workspace) == 0
    await sh(sandbox, f"{sandbox.runtime}/bin/git init -q .")
    assert (await workspace.checkpoint(sandbox, "x")).git == "2"


async def test_a_change_of_an_ignored_file_is_looked_into_and_is_none(sandbox: Sandbox, workspace: Workspace) -> None:
    before = workspace.last
    await sandbox.write("/workspace/x.log", b"x")
    assert await programs(sandbox, workspace) == 1
    assert workspace.last == before


async def test_what_was_left_out_is_named_again_without_a_look(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(sandbox, "echo x > closed; chmod 000 closed; mkdir -p .GIT; echo x > .GIT/config")
    first = await workspace.checkpoint(sandbox, "x")
    assert len(first.left_out) >= 2
    assert await programs(sandbox, workspace) == 0
    assert workspace.last == first


async def test_what_could_not_be_kept_is_tried_again(sandbox: Sandbox, workspace: Workspace) -> None:
    await sandbox.write("/workspace/new", b"new")
    await sh(sandbox, "chmod 000 ~/.dockwright.git; chmod 500 ~")
    await workspace.checkpoint(sandbox, "x")
    await sh(sandbox, "chmod 700 ~")
    made = await workspace.checkpoint(sandbox, "y")
    assert tree(workspace.quarantine.folder, made.commit)["new"] == "100644 new"


async def test_what_was_restored_or_entered_is_looked_at(sandbox: Sandbox, workspace: Workspace) -> None:
    first = workspace.last
    await workspace.restore(sandbox, first)
    assert await programs(sandbox, workspace) == 2
    await workspace.enter(sandbox)  # which looks at the agent's own repository
    assert await programs(sandbox, workspace) == 1
    assert workspace.last == first


async def test_files_that_were_withheld_are_kept_on(sandbox: Sandbox, workspace: Workspace) -> None:
    await sandbox.write("/workspace/key", b"hunter2-hunter2")
    made = await workspace.checkpoint(sandbox, "x")
    await withhold(workspace, Redaction({"TOKEN": "hunter2-hunter2"}))
    assert workspace.last.tree != made.tree
    assert (await workspace.checkpoint(sandbox, "y")).tree == made.tree


async def test_equal_files_have_an_equal_mark(sandbox: Sandbox) -> None:
    await sandbox.write("/workspace/x", b"x")
    first = await mark(sandbox)
    assert first is not None
    assert await mark(sandbox) == first
    await sandbox.write("/workspace/y", b"y")
    assert await mark(sandbox) not in (None, first)


async def test_what_changes_all_the_time_has_no_mark(sandbox: Sandbox) -> None:
    await sandbox.write("/workspace/x", b"0")
    job = await sandbox.spawn([f"{sandbox.runtime}/bin/python3", "-I", "-c", WRITE_ON])
    found: list[int | None] = []
    while None not in found and len(found) < 200:  # on a busy machine it may stand still between two looks
        found.append(await mark(sandbox))
    await sandbox.kill(job.id)
    assert None in found
    assert await mark(sandbox) is not None


@pytest.mark.parametrize(
    ("script", "has_one"),
    [
        ("for n in $(seq 101); do : > $n; done", False),
        ("mkdir in; for n in $(seq 5000); do : > in/$n; done", False),
        ("mkdir in; : > in/x; chmod 000 in", False),
        ("touch -d @1 x", True),
        ("ln -s / root; ln -s x x; mkfifo pipe", True),
        ("printf x > \"$(printf 'a\\377\\nb')\"", True),
        ("mkdir .git; for n in $(seq 101); do : > .git/$n; done; : > x", True),
    ],
)
async def test_odd_folders(sandbox: Sandbox, script: str, has_one: bool) -> None:
    await sh(sandbox, script)
    found = await mark(sandbox)
    assert (found is not None) == has_one
    assert await mark(sandbox) == found
    await sh(sandbox, "chmod 700 in 2>/dev/null || true")


async def test_a_tree_too_deep_for_paths_has_no_mark(sandbox: Sandbox) -> None:
    name = "d" * 200
    await python(sandbox, f"import os\nfor _ in range(30):\n    os.mkdir({name!r})\n    os.chdir({name!r})")
    assert await mark(sandbox) is None
    await sh(sandbox, "rm -r d*")


async def test_an_ignore_file_in_the_agents_home_makes_no_difference(sandbox: Sandbox, workspace: Workspace) -> None:
    await sh(sandbox, "mkdir -p ~/.config/git; echo new > ~/.config/git/ignore; echo new > new")
    made = await workspace.checkpoint(sandbox, "x")
    await sh(sandbox, "rm -r ~/.config/git")
    assert tree(workspace.quarantine.folder, made.commit)["new"] == "100644 new"
