"""What an agent leaves in its workspace: modes, kinds, names and links that would hurt a host are left out, made
harmless or named. Unpacked without thought, they do hurt."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from tests.adversarial import careless
from tests.adversarial.careless import contained
from tests.repositories import everything, git, new_repository, tree

from dockwright.sandbox import Sandbox
from dockwright.workspace import Workspace, apply, snapshot

HOSTILE = r"""
mkdir -p sub; echo x > plain; cp /bin/sh suid; chmod 6755 suid; chmod 2777 sub; echo y > sub/file; chmod 666 sub/file
mkfifo fifo; python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('sock')" 2>/dev/null
ln plain hard; ln -s /etc/passwd absolute; ln -s ../../../../etc/passwd relative; ln -s / root; ln -s plain inside
mkdir -p 'x/.GIT' '.git ' 'git~1' '.git.' a/.git/hooks; echo evil > x/.GIT/config; echo evil > '.git /config'
echo evil > 'git~1/config'; echo evil > '.git./config'; printf '#!/bin/sh\n' > a/.git/hooks/pre-commit
printf 'n' > "$(printf 'new\nline')"; printf 'n' > "$(printf '\033[2J')"; printf 'n' > "$(printf 'raw\377')"
printf 'n' > ./-rf; printf 'n' > ':(exclude)*'; setfattr -n user.evil -v 1 plain 2>/dev/null
i=0; while [ $i -lt 300 ]; do long="${long}a"; i=$((i+1)); done; printf n > "$long" 2>/dev/null; true
"""


async def delivered(sandbox: Sandbox, folder: Path) -> tuple[Path, Workspace, tuple[str, ...], tuple[str, ...]]:
    repo = new_repository(folder / "repo")
    workspace = await snapshot(repo, folder / "state")
    await workspace.enter(sandbox)
    await contained(sandbox)(HOSTILE)
    await workspace.checkpoint(sandbox, "Hostile")
    made = await workspace.deliver("r1", workspace.last.commit, "Hostile")
    assert made is not None
    assert made.branch == "dockwright/r1"
    return repo, workspace, made.left_out, made.notes


async def test_only_files_and_links_with_plain_modes_come_out(sandbox: Sandbox, tmp_path: Path) -> None:
    repo, _, left_out, notes = await delivered(sandbox, tmp_path)
    made = tree(repo, "dockwright/r1")
    assert {entry.split(" ")[0] for entry in made.values()} == {"100644", "100755", "120000"}
    assert not [path for path in made if ".git" in path.lower() or "git~" in path.lower()]
    assert {"plain", "hard", "suid", "inside", "new\nline", "\x1b[2J", "raw\udcff", "-rf", ":(exclude)*"} <= made.keys()
    assert {"fifo", "sock"} & made.keys() == set()
    named = "\n".join(left_out)
    assert all(name in named for name in ("x/.GIT", ".git /config", "git~1", ".git./config"))
    assert sorted(note.split(" ")[0] for note in notes) == ["absolute", "relative", "root"]


async def test_the_quarantine_gives_no_link_out_and_no_mode_to_the_users_folder(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    repo, workspace, _, _ = await delivered(sandbox, tmp_path)
    before = everything(repo)
    with pytest.raises(Exception, match="a link that leads out of the folder"):
        await apply(repo, tmp_path / "state", "r1")
    assert everything(repo) == before
    await contained(sandbox)("rm absolute relative root")
    await workspace.checkpoint(sandbox, "Less")
    await apply(repo, tmp_path / "state", "r1", new=workspace.last.commit)
    assert (repo / "suid").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX) == 0
    assert (repo / "sub").stat().st_mode & stat.S_ISGID == 0
    assert (repo / "sub/file").stat().st_mode & stat.S_IWOTH == 0
    assert (repo / "hard").stat().st_nlink == 1
    assert "user.evil" not in os.listxattr(repo / "plain")


def hostile_archive(victim: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:

        def add(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "", text: bytes = b"") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.linkname, info.size = kind, mode, link, len(text)
            tar.addfile(info, io.BytesIO(text))

        add("../traversed", text=b"evil")
        add("suid", mode=0o6755, text=b"evil")
        add("link", tarfile.SYMTYPE, link=str(victim))
        add("link/through", text=b"evil")
        add("fifo", tarfile.FIFOTYPE)
        add(".git/hooks/pre-commit", mode=0o755, text=b"#!/bin/sh\nevil\n")
    return data.getvalue()


def test_an_archive_without_care_gets_through(tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "a/target"
    victim.mkdir()
    target.mkdir(parents=True)
    careless.extract(hostile_archive(victim), target)
    assert (tmp_path / "a/traversed").read_bytes() == b"evil"
    assert (victim / "through").read_bytes() == b"evil"
    assert (target / "suid").stat().st_mode & stat.S_ISUID
    assert stat.S_ISFIFO((target / "fifo").stat().st_mode)
    assert (target / ".git/hooks/pre-commit").exists()


def test_names_without_care_become_hooks(tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    hook = f"#!/bin/sh\ntouch {tmp_path}/sprung\n".encode()
    careless.copy_into(repo, {".git/hooks/pre-commit": hook, "../escaped": b"evil"})
    (repo / ".git/hooks/pre-commit").chmod(0o755)
    careless.git(repo, "commit", "--allow-empty", "-m", "x")
    assert ((tmp_path / "sprung").exists(), (tmp_path / "escaped").exists()) == (True, True)


async def test_history_that_the_agent_rewrote_does_not_come_out(sandbox: Sandbox, tmp_path: Path) -> None:
    repo = new_repository(tmp_path / "repo")
    head, refs = git(repo, "rev-parse", "HEAD"), git(repo, "for-each-ref")
    workspace = await snapshot(repo, tmp_path / "state")
    await workspace.enter(sandbox)
    attack = (
        "echo z > z; git add -A; git -c user.name=x -c user.email=x@x commit -q --amend -m 'Nothing to see' --author "
        "'Linus <l@example.org>'; git branch other; git tag v1; git update-ref refs/heads/release HEAD; "
        "git replace HEAD~0 HEAD 2>/dev/null; git checkout -q --orphan fresh; git log --oneline | head; git gc -q"
    )
    await contained(sandbox)(attack)
    await workspace.checkpoint(sandbox, "Rewritten")
    made = await workspace.deliver("r1", workspace.last.commit, "Work")
    assert made is not None
    assert git(repo, "log", "--format=%P|%an", "-1", "dockwright/r1") == f"{head}|dockwright"
    lines = [line for line in git(repo, "for-each-ref").splitlines() if not line.endswith("dockwright/r1")]
    assert lines == refs.splitlines()


def test_a_careless_fetch_of_all_refs_rewrites_it(tmp_path: Path) -> None:
    repo, theirs = new_repository(tmp_path / "repo"), new_repository(tmp_path / "theirs", {"evil": b"x"})
    git(repo, "branch", "release")
    git(theirs, "branch", "release")
    before = git(repo, "rev-parse", "release")
    careless.git(
        repo, "-c", "protocol.file.allow=always", "fetch", str(theirs), "+refs/heads/release:refs/heads/release"
    )
    assert git(repo, "rev-parse", "release") != before
