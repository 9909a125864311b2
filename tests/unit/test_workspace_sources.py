"""Every kind of folder a user may name: what a run starts from there, and what it gets back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.repositories import agent_commit, everything, git, new_repository, tree, write

from dockwright.errors import ConfigError
from dockwright.workspace import snapshot


def clone(folder: Path) -> Path:
    git(folder, "clone", "-q", "--no-local", str(new_repository(folder / "origin")), "clone")
    return folder / "clone"


def linked_worktree(folder: Path) -> Path:
    git(new_repository(folder / "main"), "worktree", "add", "-q", "-b", "side", str(folder / "linked"))
    return folder / "linked"


def submodule(folder: Path) -> Path:
    library = new_repository(folder / "library")
    parent = new_repository(folder / "parent", {"a": b"a"})
    git(parent, "submodule", "--quiet", "add", str(library), "lib")
    return parent / "lib"


def shallow_clone(folder: Path) -> Path:
    origin = new_repository(folder / "origin")
    for number in range(3):
        git(origin, "commit", "-q", "--allow-empty", "-m", f"Step {number}")
    git(folder, "clone", "-q", "--depth=2", f"file://{origin}", "shallow")
    return folder / "shallow"


def partial_clone(folder: Path) -> Path:
    """Without the contents of the past."""
    origin = new_repository(folder / "origin", {"README.md": b"# Old\n", "src/app.py": b"print('orders')\n"})
    write(origin, {"README.md": b"# Orders\n"})
    git(origin, "commit", "-qam", "Newer")
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(folder, "clone", "-q", "--filter=blob:none", f"file://{origin}", "partial")
    return folder / "partial"


def detached(folder: Path) -> Path:
    repo = new_repository(folder / "repo")
    git(repo, "checkout", "-q", "--detach")
    return repo


def packed_away(folder: Path) -> Path:
    repo = new_repository(folder / "repo")
    git(repo, "gc", "-q")
    git(repo, "pack-refs", "--all", "--prune")
    return repo


def sha256(folder: Path) -> Path:
    repo = folder / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "main", "--object-format=sha256")
    write(repo, {"README.md": b"# Orders\n", "src/app.py": b"print('orders')\n"})
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Start")
    return repo


def sparse(folder: Path) -> Path:
    repo = new_repository(folder / "repo")
    git(repo, "sparse-checkout", "set", "--cone", "nothing")
    assert not (repo / "src").exists()
    return repo


def odd_name(folder: Path) -> Path:
    return new_repository(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xc3\xa9 \xff 'x' $(id)")))


def inner_alternates(folder: Path) -> Path:
    repo = new_repository(folder / "repo")
    git(repo, "repack", "-adq")
    (repo / ".git/objects/pack").rename(repo / ".git/elsewhere")
    write(
        repo, {".git/objects/info/alternates": b"../store\n", ".git/objects/pack/.keep": b"", ".git/store/.keep": b""}
    )
    (repo / ".git/elsewhere").rename(repo / ".git/store/pack")
    return repo


REPOSITORIES = [
    clone, linked_worktree, submodule, shallow_clone, partial_clone, detached, packed_away, sha256, sparse, odd_name,
    inner_alternates,
]  # fmt: skip
FILES = {"README.md": "100644 # Orders", "src/app.py": "100644 print('orders')"}


@pytest.mark.parametrize("make", REPOSITORIES, ids=lambda make: make.__name__)
async def test_a_repository_of_any_kind_gets_a_branch_and_is_else_unchanged(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    repo = make(tmp_path)
    head = git(repo, "rev-parse", "HEAD")
    before = everything(tmp_path, but_objects=True)

    workspace = await snapshot(repo, tmp_path / "state")
    commit = await agent_commit(workspace, {"src/new.py": b"new\n"})
    delivered = await workspace.deliver("r1", commit, "Add new")

    assert (workspace.base, workspace.head, workspace.carried) == (head, head, ())
    assert delivered is not None
    assert (delivered.branch, delivered.notes) == ("dockwright/r1", ())
    assert tree(repo, "dockwright/r1") == FILES | {"src/new.py": "100644 new"}
    assert git(repo, "rev-parse", "dockwright/r1~1") == head
    after = {name: facts for name, facts in everything(tmp_path, but_objects=True).items() if "state" not in name}
    new = {name for name in after.keys() - before.keys() if after[name] != "folder"}
    assert len(new) == 1
    assert new.pop().endswith("refs/heads/dockwright/r1")
    assert {name: facts for name, facts in after.items() if name in before} == before
    git(repo, "fsck", "--strict", "--connectivity-only", "dockwright/r1")


async def test_a_bare_repository_starts_from_its_head(tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", "--no-local", str(new_repository(tmp_path / "origin")), "bare.git")
    workspace = await snapshot(tmp_path / "bare.git", tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add new")
    assert delivered is not None
    assert (delivered.branch, workspace.carried) == ("dockwright/r1", ())
    assert tree(tmp_path / "bare.git", "dockwright/r1") == FILES | {"new": "100644 new"}


async def test_a_repository_without_commits_gets_a_branch_of_its_own_root(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "trunk")
    write(repo, {"draft.txt": b"draft\n"})
    workspace = await snapshot(repo, tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"new": b"new\n"}), "Add new")
    assert delivered is not None
    assert (workspace.head, workspace.branch, workspace.carried) == (None, "trunk", ("draft.txt",))
    assert git(repo, "log", "--format=%s", "dockwright/r1") == "Add new\nUncommitted work carried in"
    assert tree(repo, "dockwright/r1") == {"draft.txt": "100644 draft", "new": "100644 new"}


async def test_an_empty_folder_starts_from_nothing_and_gets_a_patch(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    workspace = await snapshot(empty, tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"app.py": b"new\n"}), "Scaffold")
    assert (workspace.head, workspace.carried, workspace.left_out) == (None, (), ())
    assert tree(workspace.quarantine.folder, workspace.base) == {}
    assert delivered is not None
    assert (delivered.branch, delivered.files, delivered.insertions) == (None, 1, 1)
    assert delivered.notes == (f"{empty} is no git repository, so there is no branch",)
    assert list(empty.iterdir()) == []


async def test_an_empty_folder_inside_a_repository_may_start_afresh(tmp_path: Path) -> None:
    new = new_repository(tmp_path / "repo") / "services/new"
    new.mkdir(parents=True)
    assert (await snapshot(new, tmp_path / "state")).head is None


async def test_a_folder_that_is_no_repository_is_taken_but_for_what_it_ignores(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, {"app.py": b"app\n", ".env": b"KEY=1\n", ".gitignore": b"*.log\n", "x.log": b"no", "a/b/c": b"c\n"})
    new_repository(folder / "nested")
    os.mkfifo(folder / "pipe")
    workspace = await snapshot(folder, tmp_path / "state")
    assert workspace.carried == (".env", ".gitignore", "a/b/c", "app.py")
    assert workspace.left_out == ("nested/: a repository of its own", "pipe: neither file nor link")
    assert not (folder / ".git").exists()


async def test_a_missing_path_and_a_file_are_told_apart_from_a_folder(tmp_path: Path) -> None:
    write(tmp_path, {"file": b""})
    with pytest.raises(ConfigError, match=r"missing does not exist\. Name an existing folder"):
        await snapshot(tmp_path / "missing", tmp_path / "state")
    with pytest.raises(ConfigError, match="file cannot be worked on: Not a directory"):
        await snapshot(tmp_path / "file", tmp_path / "state")
    assert not (tmp_path / "state").exists()


async def test_a_folder_of_a_repository_names_the_folder_to_use(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    with pytest.raises(ConfigError, match=f"Name that folder: `-C {repo}`"):
        await snapshot(repo / "src", tmp_path / "state")


async def test_a_damaged_head_is_not_taken_for_an_empty_repository(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    write(repo, {".git/refs/heads/main": b"garbage\n"})
    with pytest.raises(ConfigError, match="git fsck"):
        await snapshot(repo, tmp_path / "state")


async def test_missing_objects_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    blob = git(repo, "rev-parse", "HEAD:README.md")
    (repo / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(
        ConfigError, match=r"Reading the repository .* failed: git pack-objects .*: fatal: .* Try `git fsck`"
    ):
        await snapshot(repo, tmp_path / "state")
