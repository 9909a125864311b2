"""Real repositories for the tests of the workspace, and a way to see that nothing in them was touched."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from pathlib import Path

from dockwright.workspace import Workspace

IDENTITY = {"GIT_AUTHOR_NAME": "User", "GIT_AUTHOR_EMAIL": "user@example.com"}
IDENTITY |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in IDENTITY.items()}
Files = dict[str, bytes]


def git(folder: Path, *arguments: str | bytes) -> str:
    """What the machine's own git says, with nothing of the machine's configuration."""
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", **IDENTITY}
    plain = ["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false"]
    done = subprocess.run(["git", *plain, *arguments], cwd=folder, env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def new_repository(folder: Path, files: Files | None = None) -> Path:
    """A repository on branch main with one commit, of README.md and src/app.py unless told otherwise."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    write(folder, files if files is not None else {"README.md": b"# Orders\n", "src/app.py": b"print('orders')\n"})
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "Start")
    return folder


def everything(folder: Path, *, but_objects: bool = False) -> dict[str, str]:
    """Every path below a folder, `.git` included, with kind, mode, size, content and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        facts = path.lstat()
        if but_objects and "objects/" in name:
            continue
        if but_objects and stat.S_ISDIR(facts.st_mode):
            found[name] = "folder"
            continue
        content = os.readlink(path) if path.is_symlink() else path.read_bytes().hex() if path.is_file() else ""
        kind = f"{stat.S_IFMT(facts.st_mode):o} {stat.S_IMODE(facts.st_mode):o} {facts.st_mtime_ns}"
        found[name] = f"{kind} {hashlib.sha256(content.encode('utf-8', 'surrogateescape')).hexdigest()}"
    return found


def tree(repository: Path, revision: str) -> dict[str, str]:
    """path -> "MODE content" of a commit, in any repository."""
    listing = git(repository, "ls-tree", "-r", "-z", "--full-tree", revision)
    files = {}
    for line in filter(None, listing.split("\0")):
        facts, _, path = line.partition("\t")
        mode, kind, oid = facts.split(" ")
        files[path] = f"{mode} " + (git(repository, "cat-file", "blob", oid) if kind == "blob" else oid)
    return files


async def agent_commit(workspace: Workspace, files: dict[str, bytes | None], mode: str = "100644") -> str:
    """A commit on `base`, as a checkpoint would make it; None deletes."""
    stream = b"commit refs/test\ncommitter Agent <agent@example.com> 0 +0000\ndata 4\nwork\nfrom %s\n"
    lines = [stream % workspace.base.encode()]
    for name, data in files.items():
        path = os.fsencode(name)
        lines.append(
            b'D "%s"\n' % path
            if data is None
            else b'M %s inline "%s"\ndata %d\n%s\n' % (mode.encode(), path, len(data), data)
        )
    await workspace.quarantine.git("fast-import", "--quiet", "--force", stdin=b"".join(lines))
    return await workspace.quarantine.id("refs/test")
