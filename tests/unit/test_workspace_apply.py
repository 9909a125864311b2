"""`apply` puts a run's change into the user's folder: all of it or nothing, and never over somebody's work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.repositories import agent_commit, everything, git, new_repository, write

from dockwright.errors import ConfigError
from dockwright.workspace import Workspace, apply, snapshot


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def delivered(repo: Path, state: Path, files: dict[str, bytes | None], mode: str = "100644") -> Workspace:
    """A run r1 that changed these files."""
    workspace = await snapshot(repo, state)
    await workspace.deliver("r1", await agent_commit(workspace, files, mode), "Change")
    return workspace


def files(folder: Path) -> dict[str, str]:
    return {name: facts for name, facts in everything(folder).items() if not name.startswith(".git/")}


async def test_the_change_appears_unstaged_and_ready_for_review(repo: Path, state: Path) -> None:
    write(repo, {"old/only.txt": b"x"})
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Old")
    change = {"src/app.py": b"print('more')\n", "new/deep/file.py": b"new\n", "old/only.txt": None}
    await delivered(repo, state, change)
    git_before = {name: facts for name, facts in everything(repo).items() if name.startswith(".git/")}

    assert await apply(repo, state, "r1") == ("new/deep/file.py", "old/only.txt", "src/app.py")

    assert {name: facts for name, facts in everything(repo).items() if name.startswith(".git/")} == git_before
    assert git(repo, "status", "--porcelain", "-uall") == " D old/only.txt\n M src/app.py\n?? new/deep/file.py"
    assert (repo / "src/app.py").read_bytes() == b"print('more')\n"
    assert not (repo / "old").exists()
    assert git(repo, "diff", "--stat", "dockwright/r1", "--", "src") == ""


async def test_uncommitted_work_that_the_run_did_not_know_is_a_reason_to_refuse(repo: Path, state: Path) -> None:
    await delivered(repo, state, {"src/app.py": b"print('more')\n"})
    write(repo, {"README.md": b"# Mine since\n"})
    before = everything(repo)
    with pytest.raises(
        ConfigError, match=r"has uncommitted changes: README\.md\. Nothing was changed\. Commit or stash"
    ):
        await apply(repo, state, "r1")
    assert everything(repo) == before


async def test_uncommitted_work_that_the_run_started_from_is_none(repo: Path, state: Path) -> None:
    write(repo, {"README.md": b"# Mine before\n", "src/app.py": b"edited\n", "notes.txt": b"new\n"})
    git(repo, "add", "notes.txt")
    await delivered(repo, state, {"src/app.py": b"edited\nmore\n"})
    await apply(repo, state, "r1")
    assert (repo / "src/app.py").read_bytes() == b"edited\nmore\n"
    assert (repo / "README.md").read_bytes() == b"# Mine before\n"


async def test_untracked_files_that_are_not_in_the_way_stay(repo: Path, state: Path) -> None:
    await delivered(repo, state, {"new.txt": b"new\n"})
    write(repo, {"scratch.txt": b"mine"})
    assert await apply(repo, state, "r1") == ("new.txt",)
    assert (repo / "scratch.txt").read_bytes() == b"mine"


async def test_paths_that_changed_since_are_listed_and_nothing_is_touched(repo: Path, state: Path) -> None:
    change = {"src/app.py": b"theirs\n", "new.txt": b"theirs\n", "a.txt": b"theirs\n", "README.md": None}
    await delivered(repo, state, change)
    write(repo, {"src/app.py": b"mine\n", "new.txt": b"mine\n"})
    (repo / "README.md").unlink()
    (repo / "README.md").mkdir()
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Mine")
    before = everything(repo)
    with pytest.raises(ConfigError) as refused:
        await apply(repo, state, "r1")
    assert (
        f"The changes of r1 do not fit into {repo}: README.md (changed since), new.txt (there is another), "
        "src/app.py (changed since). Nothing was changed. Merge by hand: the change is in "
    ) in str(refused.value)
    assert everything(repo) == before


async def test_commits_since_that_touch_other_files_are_no_hindrance(repo: Path, state: Path) -> None:
    await delivered(repo, state, {"src/app.py": b"theirs\n"})
    write(repo, {"README.md": b"# Other\n"})
    git(repo, "commit", "-qam", "Other")
    await apply(repo, state, "r1")
    assert git(repo, "status", "--porcelain") == " M src/app.py"


async def test_doing_it_again_finishes_what_was_begun(repo: Path, state: Path) -> None:
    await delivered(repo, state, {"src/app.py": b"theirs\n", "new.txt": b"theirs\n", "README.md": None})
    write(repo, {"src/app.py": b"theirs\n"})
    (repo / "README.md").unlink()
    await apply(repo, state, "r1")
    after = files(repo)
    assert (repo / "new.txt").read_bytes() == b"theirs\n"
    await apply(repo, state, "r1")
    assert files(repo) == after


async def test_a_link_that_replaced_a_folder_is_never_written_through(repo: Path, state: Path, tmp_path: Path) -> None:
    await delivered(repo, state, {"out/file.txt": b"theirs\n", "src/app.py": b"theirs\n"})
    (tmp_path / "elsewhere").mkdir()
    (repo / "out").symlink_to(tmp_path / "elsewhere")
    before = everything(repo)
    with pytest.raises(ConfigError, match=r"out/file\.txt \(out is in its way\)"):
        await apply(repo, state, "r1")
    assert (everything(repo), list((tmp_path / "elsewhere").iterdir())) == (before, [])


async def test_a_link_in_the_place_of_a_file_is_a_conflict(repo: Path, state: Path, tmp_path: Path) -> None:
    await delivered(repo, state, {"src/app.py": b"theirs\n"})
    write(tmp_path, {"host.txt": b"print('orders')\n"})
    (repo / "src/app.py").unlink()
    (repo / "src/app.py").symlink_to(tmp_path / "host.txt")
    git(repo, "commit", "-qam", "Link")
    with pytest.raises(ConfigError, match="do not fit"):
        await apply(repo, state, "r1")
    assert (tmp_path / "host.txt").read_bytes() == b"print('orders')\n"


async def test_a_fifo_in_the_place_of_a_file_does_not_hang(repo: Path, state: Path) -> None:
    await delivered(repo, state, {"new.txt": b"theirs\n"})
    os.mkfifo(repo / "new.txt")
    with pytest.raises(ConfigError, match=r"new\.txt \(there is another\)"):
        await apply(repo, state, "r1")


async def test_a_link_that_leads_out_of_the_folder_is_not_made(repo: Path, state: Path) -> None:
    await delivered(repo, state, {"etc": b"/etc"}, "120000")
    with pytest.raises(ConfigError, match=r"etc \(a link that leads out of the folder\)"):
        await apply(repo, state, "r1")
    assert not (repo / "etc").is_symlink()


async def test_links_and_executables_arrive_as_such_and_modes_are_kept(repo: Path, state: Path) -> None:
    (repo / "README.md").chmod(0o600)
    await delivered(repo, state, {"link": b"src/app.py"}, "120000")
    await apply(repo, state, "r1")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Link")
    await delivered(repo, state.with_name("second"), {"run": b"#!/bin/sh\n", "README.md": b"x"}, "100755")
    await apply(repo, state.with_name("second"), "r1")
    modes = {name: f"{(repo / name).lstat().st_mode & 0o777:o}" for name in ("run", "README.md")}
    assert (os.readlink(repo / "link"), modes) == ("src/app.py", {"run": "755", "README.md": "700"})


async def test_a_file_may_become_a_folder_and_a_folder_of_leaving_files_go(repo: Path, state: Path) -> None:
    await delivered(repo, state, {"README.md": None, "README.md/index.md": b"# Orders\n", "src/app.py": None})
    await apply(repo, state, "r1")
    assert ((repo / "README.md/index.md").read_bytes(), (repo / "src").exists()) == (b"# Orders\n", False)


async def test_files_with_crlf_line_ends_keep_them(repo: Path, state: Path) -> None:
    write(repo, {".gitattributes": b"*.bat eol=crlf\n", "run.bat": b"a\r\nb\r\n"})
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Batch")
    await delivered(repo, state, {"run.bat": b"a\nb\nc\n"})
    await apply(repo, state, "r1")
    assert (repo / "run.bat").read_bytes() == b"a\r\nb\r\nc\r\n"


async def test_an_empty_folder_is_filled(tmp_path: Path, state: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    await delivered(empty, state, {"app.py": b"app\n", "tests/test_app.py": b"test\n"})
    assert await apply(empty, state, "r1") == ("app.py", "tests/test_app.py")
    assert sorted(files(empty)) == ["app.py", "tests", "tests/test_app.py"]


async def test_a_folder_that_is_no_repository_is_changed_where_it_is_as_it_was(tmp_path: Path, state: Path) -> None:
    folder = tmp_path / "folder"
    write(folder, {"app.py": b"app\n", "kept": b"x"})
    await delivered(folder, state, {"app.py": b"more\n"})
    await apply(folder, state, "r1")
    assert ((folder / "app.py").read_bytes(), (folder / "kept").read_bytes()) == (b"more\n", b"x")


async def test_a_bare_repository_has_nowhere_to_apply_to(tmp_path: Path, state: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", "--no-local", str(new_repository(tmp_path / "origin")), "bare.git")
    await delivered(tmp_path / "bare.git", state, {"new": b"x"})
    with pytest.raises(ConfigError, match=r"has no working tree\. Merge the branch dockwright/r1"):
        await apply(tmp_path / "bare.git", state, "r1")


async def test_a_run_that_delivered_nothing_says_so(repo: Path, state: Path) -> None:
    await snapshot(repo, state)
    with pytest.raises(ConfigError, match="The run r1 delivered nothing"):
        await apply(repo, state, "r1")


async def test_what_came_since_it_was_applied_last_is_applied_on_top(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    first = await agent_commit(workspace, {"new.txt": b"one\n", "src/app.py": b"one\n"})
    second = await agent_commit(workspace, {"new.txt": b"two\n", "src/app.py": b"one\n"})
    assert await apply(repo, state, "r1", new=first) == ("new.txt", "src/app.py")
    assert await apply(repo, state, "r1", old=first, new=second) == ("new.txt",)
    assert (repo / "new.txt").read_bytes() == b"two\n"
    write(repo, {"src/app.py": b"mine\n"})
    with pytest.raises(ConfigError, match=r"uncommitted changes: src/app\.py"):
        await apply(repo, state, "r1", old=second, new=first)


BEFORE = b"".join(b"line %d\n" % number for number in range(9))
THEIRS, MINE = BEFORE.replace(b"line 1", b"theirs"), BEFORE.replace(b"line 7", b"mine")


async def moved_on(repo: Path, state: Path, mine: bytes) -> None:
    """A run changed a file, and so did a commit of the user since."""
    write(repo, {"app.txt": BEFORE})
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Lines")
    await delivered(repo, state, {"app.txt": THEIRS})
    write(repo, {"app.txt": mine})
    git(repo, "commit", "-qam", "Mine")


async def test_a_file_that_moved_on_elsewhere_is_merged(repo: Path, state: Path) -> None:
    await moved_on(repo, state, MINE)
    assert await apply(repo, state, "r1") == ("app.txt",)
    assert (repo / "app.txt").read_bytes() == THEIRS.replace(b"line 7", b"mine")
    assert git(repo, "status", "--porcelain") == " M app.txt"


async def test_a_merge_keeps_crlf_line_ends(repo: Path, state: Path) -> None:
    git(repo, "config", "core.autocrlf", "true")
    await moved_on(repo, state, MINE.replace(b"\n", b"\r\n"))
    await apply(repo, state, "r1")
    assert (repo / "app.txt").read_bytes() == THEIRS.replace(b"line 7", b"mine").replace(b"\n", b"\r\n")


async def test_what_meets_in_a_file_is_marked_only_where_that_was_asked_for(repo: Path, state: Path) -> None:
    await moved_on(repo, state, BEFORE.replace(b"line 1", b"mine"))
    before = everything(repo)
    with pytest.raises(ConfigError, match=r"do not fit into .*: app\.txt \(changed since\)"):
        await apply(repo, state, "r1")
    assert everything(repo) == before
    await apply(repo, state, "r1", markers=True)
    marked = b"<<<<<<< yours\nmine\n=======\ntheirs\n>>>>>>> the run\n"
    assert (repo / "app.txt").read_bytes() == BEFORE.replace(b"line 1\n", marked)
