"""The user's repository, in whatever state: not one byte, mode or time of change in it differs afterwards, but for one
new branch; and no branch of the user's is moved or displaced."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.adversarial import careless
from tests.repositories import IDENTITY, agent_commit, everything, git, new_repository, write

from dockwright.workspace import snapshot

NEW = {"refs/heads/dockwright", "refs/heads/dockwright/r1"}


def plain(folder: Path) -> Path:
    return new_repository(folder / "repo")


def diverged(folder: Path) -> Path:
    repo = plain(folder)
    git(repo, "checkout", "-qb", "other")
    write(repo, {"README.md": b"other\n"})
    git(repo, "commit", "-qam", "other")
    git(repo, "checkout", "-q", "main")
    write(repo, {"README.md": b"main\n"})
    git(repo, "commit", "-qam", "main")
    return repo


def stopped(repo: Path, *arguments: str) -> Path:
    done = subprocess.run(
        ["git", *arguments], cwd=repo, capture_output=True, env={**os.environ, **IDENTITY}, check=False
    )
    assert done.returncode != 0
    return repo


def merging(folder: Path) -> Path:
    return stopped(diverged(folder), "merge", "other")


def rebasing(folder: Path) -> Path:
    return stopped(diverged(folder), "rebase", "other")


def picking(folder: Path) -> Path:
    return stopped(diverged(folder), "cherry-pick", "other")


def detached(folder: Path) -> Path:
    repo = plain(folder)
    git(repo, "checkout", "-q", "--detach")
    return repo


def stashed(folder: Path) -> Path:
    repo = plain(folder)
    write(repo, {"README.md": b"stashed\n"})
    git(repo, "stash")
    write(repo, {"staged": b"1"})
    git(repo, "add", "staged")
    write(repo, {"staged": b"2", "untracked": b"3"})
    return repo


def unborn(folder: Path) -> Path:
    (folder / "repo").mkdir()
    git(folder / "repo", "init", "-q", "-b", "main")
    write(folder / "repo", {"first": b"1\n"})
    return folder / "repo"


def sha256(folder: Path) -> Path:
    (folder / "repo").mkdir()
    git(folder / "repo", "init", "-q", "-b", "main", "--object-format=sha256")
    write(folder / "repo", {"first": b"1\n"})
    git(folder / "repo", "add", ".")
    git(folder / "repo", "commit", "-qm", "first")
    return folder / "repo"


def sparse(folder: Path) -> Path:
    repo = new_repository(folder / "repo", {"a/x": b"1", "b/y": b"2", "c": b"3"})
    git(repo, "sparse-checkout", "set", "a")
    return repo


def overlooked(folder: Path) -> Path:
    repo = plain(folder)
    git(repo, "update-index", "--skip-worktree", "README.md")
    git(repo, "update-index", "--assume-unchanged", "src/app.py")
    write(repo, {"README.md": b"mine", "src/app.py": b"mine"})
    return repo


def intended(folder: Path) -> Path:
    repo = plain(folder)
    write(repo, {"new": b"x"})
    git(repo, "add", "-N", "new")
    return repo


def split_index(folder: Path) -> Path:
    repo = plain(folder)
    git(repo, "update-index", "--split-index")
    write(repo, {"new": b"1"})
    git(repo, "add", "new")
    return repo


def untracked_cache(folder: Path) -> Path:
    repo = plain(folder)
    git(repo, "update-index", "--force-untracked-cache")
    write(repo, {"new": b"1"})
    return repo


def monitored(folder: Path) -> Path:
    repo = plain(folder)
    git(repo, "config", "core.fsmonitor", "echo")
    git(repo, "update-index", "--fsmonitor")
    write(repo, {"README.md": b"new"})
    return repo


def index_version_4(folder: Path) -> Path:
    repo = plain(folder)
    git(repo, "update-index", "--index-version=4")
    return repo


def with_submodule(folder: Path) -> Path:
    repo, library = plain(folder), new_repository(folder / "library")
    git(repo, "submodule", "-q", "add", str(library), "lib")
    git(repo, "commit", "-qm", "lib")
    write(repo, {"lib/dirty": b"x"})
    return repo


def case_collisions(folder: Path) -> Path:
    repo = plain(folder)
    write(repo, {"A": b"1", "a": b"2", "d/x": b"3", "D/x": b"4"})
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "case")
    return repo


def odd_names(folder: Path) -> Path:
    repo = plain(folder)
    for name in (
        b"n\xff\xfe",
        b"new\nline",
        b"\x01\x1b[2J",
        b"sp ace",
        b"-rf",
        b'q"uote',
        b"back\\slash",
        b":(top)x",
        b"*",
    ):
        Path(os.fsdecode(os.path.join(os.fsencode(repo), name))).write_bytes(b"x")
    return repo


def odd_place(folder: Path) -> Path:
    place = os.fsdecode(os.fsencode(folder) + b"/a b \xff\n 'c\"")
    os.makedirs(place)
    return new_repository(Path(place) / "repo")


def odd_files(folder: Path) -> Path:
    repo = plain(folder)
    os.mkfifo(repo / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(repo / "sock"))
    os.link(repo / "README.md", repo / "hard")
    (repo / "device").symlink_to("/dev/zero")
    (repo / "out").symlink_to("../../../etc/passwd")
    return repo


def nested(folder: Path) -> Path:
    repo = plain(folder)
    new_repository(repo / "inner")
    git(folder, "init", "-q", "--bare", str(repo / "buried"))
    return repo


def packed(folder: Path) -> Path:
    repo = diverged(folder)
    git(repo, "pack-refs", "--all")
    git(repo, "gc", "-q")
    return repo


SHAPES = [
    plain, merging, rebasing, picking, detached, stashed, unborn, sha256, sparse, overlooked, intended, split_index,
    untracked_cache, monitored, index_version_4, with_submodule, case_collisions, odd_names, odd_place, odd_files,
    nested, packed,
]  # fmt: skip


def seen(repo: Path) -> dict[str, str]:
    """Every byte, mode and time, `.git` included, but for objects."""
    return dict(everything(repo, but_objects=True).items())


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
async def test_nothing_but_one_new_branch(tmp_path: Path, shape: Callable[[Path], Path]) -> None:
    repo = shape(tmp_path)
    before = seen(repo)
    workspace = await snapshot(repo, tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"added": b"new\n"}), "Add")
    assert delivered is not None
    assert (delivered.branch, delivered.notes) == ("dockwright/r1", ())
    after = seen(repo)
    new = {name.removeprefix(".git/") for name in after.keys() - before.keys()}
    assert (new, {name: facts for name, facts in after.items() if name in before}) == (NEW, before)


@pytest.mark.parametrize("shape", [split_index, untracked_cache, stashed], ids=lambda shape: shape.__name__)
def test_plain_git_changes_it_by_looking(tmp_path: Path, shape: Callable[[Path], Path]) -> None:
    repo = shape(tmp_path)
    os.utime(repo / "README.md", (1, 1))
    before = seen(repo)
    careless.git(repo, "status")
    assert seen(repo) != before


def same_name(repo: Path) -> None:
    git(repo, "branch", "dockwright/r1")


def name_above(repo: Path) -> None:
    git(repo, "branch", "dockwright")


def name_above_packed(repo: Path) -> None:
    git(repo, "branch", "dockwright")
    git(repo, "pack-refs", "--all")


def name_below(repo: Path) -> None:
    git(repo, "branch", "dockwright/r1/part")


def checked_out(repo: Path) -> None:
    git(repo, "checkout", "-qb", "dockwright/r1")


def checked_out_elsewhere(repo: Path) -> None:
    git(repo, "worktree", "add", "-q", "-b", "dockwright/r1", str(repo.parent / "linked"))


def locked(repo: Path) -> None:
    write(repo, {".git/refs/heads/dockwright/r1.lock": b""})


TAKEN = [same_name, name_above, name_above_packed, name_below, checked_out, checked_out_elsewhere, locked]


@pytest.mark.parametrize("take", TAKEN, ids=lambda take: take.__name__)
async def test_a_branch_of_the_users_stays_and_the_work_is_a_patch(
    tmp_path: Path, take: Callable[[Path], None]
) -> None:
    repo = plain(tmp_path)
    take(repo)
    refs, before = git(repo, "for-each-ref"), seen(repo)
    workspace = await snapshot(repo, tmp_path / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"added": b"new\n"}), "Add")
    assert delivered is not None
    assert (delivered.branch, len(delivered.notes), git(repo, "for-each-ref")) == (None, 1, refs)
    assert b"+new" in Path(delivered.patch).read_bytes()
    assert seen(repo) == before


def test_a_careless_fetch_moves_it(tmp_path: Path) -> None:
    repo = plain(tmp_path)
    same_name(repo)
    other = new_repository(tmp_path / "other", {"evil": b"evil\n"})
    before = git(repo, "rev-parse", "dockwright/r1")
    careless.git(repo, "-c", "protocol.file.allow=always", "fetch", str(other), "+main:dockwright/r1")
    assert git(repo, "rev-parse", "dockwright/r1") != before
