"""What of a repository goes into a workspace: HEAD, and on top all that is uncommitted and not ignored."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
from tests.repositories import everything, git, new_repository, tree, write

from dockwright.errors import ConfigError
from dockwright.workspace import Checkpoint, Workspace, snapshot


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "repo")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def base_tree(workspace: Workspace) -> dict[str, str]:
    return tree(workspace.state / "objects.git", workspace.base)


async def test_a_clean_repository_starts_from_its_head(repo: Path, state: Path) -> None:
    workspace = await snapshot(repo, state)
    head = git(repo, "rev-parse", "HEAD")
    start = Checkpoint(head, git(repo, "rev-parse", "HEAD^{tree}"))
    assert workspace == Workspace(repo, state, head, head, "main", "sha1", (), (), start)
    assert state.stat().st_mode & 0o777 == 0o700


async def test_everything_uncommitted_is_one_commit_on_top_of_head(repo: Path, state: Path) -> None:
    write(repo, {"gone.txt": b"x", "folder/file": b"x", "script": b"#!/bin/sh\n", ".gitignore": b"*.log\n.env\n"})
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "More")
    (repo / "gone.txt").unlink()
    (repo / "folder/file").unlink()
    (repo / "folder").rmdir()
    (repo / "script").chmod(0o755)
    (repo / "link").symlink_to("src/app.py")
    write(repo, {"README.md": b"# Changed\n", "new/deep.py": b"new\n", "folder": b"a file now", "debug.log": b"no"})
    write(repo, {".env": b"SECRET=1", "staged.txt": b"staged"})
    git(repo, "add", "staged.txt")
    before = everything(repo)

    workspace = await snapshot(repo, state)

    assert everything(repo) == before
    assert workspace.carried == (
        "README.md", "folder", "folder/file", "gone.txt", "link", "new/deep.py", "script", "staged.txt",
    )  # fmt: skip
    assert workspace.head == git(repo, "rev-parse", "HEAD")
    assert workspace.left_out == (".env: ignored by git, so what needs it will miss it",)  # of debug.log nobody asks
    assert base_tree(workspace) == {
        ".gitignore": "100644 *.log\n.env",
        "README.md": "100644 # Changed",
        "folder": "100644 a file now",
        "link": "120000 src/app.py",
        "new/deep.py": "100644 new",
        "script": "100755 #!/bin/sh",
        "src/app.py": "100644 print('orders')",
        "staged.txt": "100644 staged",
    }
    about = git(state / "objects.git", "show", "-s", "--format=%P|%an <%ae>|%s", workspace.base)
    assert about == f"{workspace.head}|dockwright <noreply@dockwright.invalid>|Uncommitted work carried in"


async def test_the_working_tree_wins_over_what_is_staged(repo: Path, state: Path) -> None:
    write(repo, {"README.md": b"staged\n"})
    git(repo, "add", "README.md")
    write(repo, {"README.md": b"edited after\n"})
    git(repo, "rm", "-q", "--cached", "src/app.py")
    workspace = await snapshot(repo, state)
    assert base_tree(workspace) == {"README.md": "100644 edited after", "src/app.py": "100644 print('orders')"}


async def test_a_staged_blob_that_a_filter_stands_before_is_taken_from_the_index(repo: Path, state: Path) -> None:
    write(repo, {".gitattributes": b"*.bat eol=crlf\n", "run.bat": b"echo 1\r\n"})
    git(repo, "add", "-A")
    os.utime(repo / ".git/index")
    workspace = await snapshot(repo, state)
    stored = git(state / "objects.git", "cat-file", "-s", f"{workspace.base}:run.bat")
    assert stored == str(len(b"echo 1\n"))


async def test_files_checked_out_with_crlf_are_unchanged_and_edits_of_them_are_stored_with_lf(
    repo: Path, state: Path
) -> None:
    write(repo, {".gitattributes": b"*.bat eol=crlf\n", "same.bat": b"a\r\nb\r\n", "edited.bat": b"a\r\nb\r\n"})
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Batch")
    write(repo, {"same.bat": b"a\r\nb\r\n", "edited.bat": b"a\r\nb\r\nc\r\n", "new.txt": b"x\r\n"})
    workspace = await snapshot(repo, state)
    assert workspace.carried == ("edited.bat", "new.txt")
    assert git(state / "objects.git", "cat-file", "-s", f"{workspace.base}:edited.bat") == "6"
    assert git(state / "objects.git", "cat-file", "-s", f"{workspace.base}:new.txt") == "3"


async def test_a_git_lfs_file_with_its_content_there_stays_a_pointer(repo: Path, state: Path) -> None:
    content = bytes(range(256)) * 1000
    digest = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
    write(repo, {"model.bin": pointer, ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n"})
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "Model")
    write(repo, {"model.bin": content})
    workspace = await snapshot(repo, state)
    assert (workspace.base, workspace.carried) == (workspace.head, ())


async def test_what_the_user_told_git_to_overlook_is_overlooked(repo: Path, state: Path) -> None:
    git(repo, "update-index", "--assume-unchanged", "README.md")
    git(repo, "update-index", "--skip-worktree", "src/app.py")
    write(repo, {"README.md": b"local secret\n"})
    (repo / "src/app.py").unlink()
    workspace = await snapshot(repo, state)
    assert (workspace.base, workspace.carried) == (workspace.head, ())


async def test_touched_files_with_the_same_content_are_no_change(repo: Path, state: Path) -> None:
    os.utime(repo / "README.md", (1, 1))
    workspace = await snapshot(repo, state)
    assert (workspace.base, workspace.carried) == (workspace.head, ())


async def test_an_edit_of_equal_size_right_after_the_commit_is_seen(repo: Path, state: Path) -> None:
    facts = (repo / "README.md").stat()
    (repo / "README.md").write_bytes(b"# Cheats\n")
    os.utime(repo / "README.md", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    workspace = await snapshot(repo, state)
    assert workspace.carried == ("README.md",)


async def test_an_unfinished_merge_is_carried_with_its_markers(repo: Path, state: Path) -> None:
    git(repo, "checkout", "-qb", "other")
    write(repo, {"README.md": b"theirs\n"})
    git(repo, "commit", "-qam", "Theirs")
    git(repo, "checkout", "-q", "main")
    write(repo, {"README.md": b"ours\n"})
    git(repo, "commit", "-qam", "Ours")
    with pytest.raises(AssertionError):
        git(repo, "merge", "other")
    workspace = await snapshot(repo, state)
    assert workspace.carried == ("README.md",)
    assert base_tree(workspace)["README.md"].startswith("100644 <<<<<<< HEAD\nours\n=======\ntheirs\n>>>>>>> other")


async def test_odd_names_arrive_byte_for_byte(repo: Path, state: Path) -> None:
    names = [
        b"with space",
        b"caf\xc3\xa9",
        b"\xff\xfe latin",
        b'quo"te',
        b"back\\slash",
        b"new\nline",
        b"-rf",
        b"t\tab",
    ]
    for name in names:
        Path(os.fsdecode(os.fsencode(repo) + b"/" + name)).write_bytes(b"x")
    workspace = await snapshot(repo, state)
    assert sorted(map(os.fsencode, workspace.carried)) == sorted(names)
    assert set(map(os.fsencode, base_tree(workspace))) == {*names, b"README.md", b"src/app.py"}


async def test_what_is_neither_file_nor_link_stays_out_and_is_named(repo: Path, state: Path) -> None:
    (repo / "README.md").unlink()
    for name in ("src/pipe", "d", "b", "README.md", "c", "a"):  # a folder lists them in no certain order
        os.mkfifo(repo / name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(repo / "sock"))
        workspace = await snapshot(repo, state)
    assert workspace.left_out == (
        "README.md: neither file nor link",
        "a: neither file nor link",
        "b: neither file nor link",
        "c: neither file nor link",
        "d: neither file nor link",
        "sock: neither file nor link",
        "src/pipe: neither file nor link",
    )
    assert workspace.base == workspace.head


async def test_repositories_inside_stay_out_and_are_named(repo: Path, state: Path, tmp_path: Path) -> None:
    library = new_repository(tmp_path / "library")
    git(repo, "submodule", "--quiet", "add", str(library), "lib")
    git(repo, "commit", "-qm", "Library")
    new_repository(repo / "vendored")
    write(repo, {"lib/local.txt": b"not ours"})
    workspace = await snapshot(repo, state)
    assert workspace.left_out == ("lib: the content of a submodule", "vendored/: a repository of its own")
    assert (workspace.base, workspace.carried) == (workspace.head, ())


async def test_a_link_in_the_place_of_a_folder_is_not_followed(repo: Path, state: Path, tmp_path: Path) -> None:
    write(tmp_path, {"elsewhere/app.py": b"host secret"})
    (repo / "src/app.py").unlink()
    (repo / "src").rmdir()
    (repo / "src").symlink_to(tmp_path / "elsewhere")
    workspace = await snapshot(repo, state)
    assert base_tree(workspace) == {"README.md": "100644 # Orders", "src": f"120000 {tmp_path}/elsewhere"}


async def test_an_unreadable_file_is_named_and_the_rest_is_taken(repo: Path, state: Path) -> None:
    write(repo, {"new.txt": b"new"})
    (repo / "README.md").unlink()
    (repo / "README.md").mkdir()
    os.mkfifo(repo / "README.md/pipe")
    workspace = await snapshot(repo, state)
    assert workspace.carried == ("README.md", "new.txt")


async def test_a_file_too_large_to_carry_says_what_to_do(repo: Path, state: Path) -> None:
    with (repo / "dump.sql").open("wb") as file:
        file.truncate((100 << 20) + 1)
    with pytest.raises(ConfigError, match=r"dump\.sql is larger than 100 MiB.*Commit it, have git ignore it"):
        await snapshot(repo, state)


async def test_the_users_own_ignore_file_counts(
    repo: Path, state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"home/.config/git/ignore": b".idea\n"})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    write(repo, {".idea": b"x", "kept": b"x"})
    assert (await snapshot(repo, state)).carried == ("kept",)


async def test_a_workspace_is_read_back_as_it_was(repo: Path, state: Path) -> None:
    Path(os.fsdecode(os.fsencode(repo) + b"/\xff")).write_bytes(b"x")
    workspace = await snapshot(repo, state)
    assert Workspace.load(state) == workspace


async def test_where_no_snapshot_was_taken_there_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no workspace"):
        Workspace.load(tmp_path)
