"""The workspace inside a sandbox: history and files in, trees out, all by the runner's own git.

Beside the agent's repository in /workspace, which is the agent's to change or break, there is a repository of ours with
the same files as its work tree. Its index makes a checkpoint cheap; its loss costs time and nothing else. What comes
out is a tree's name and a pack, both hostile until they were checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO

from dockwright.sandbox import HOME, RUNTIME, WORKSPACE, ExecResult, Sandbox
from dockwright.workspace.hardened import GitError
from dockwright.workspace.included import exclusions, lay_out
from dockwright.workspace.objects import Change, Entry
from dockwright.workspace.quarantine import MAIL, NAME, Quarantine

CACHES = ("__pycache__/", "*.py[cod]", ".pytest_cache/", ".mypy_cache/", ".ruff_cache/", "node_modules/", ".venv/")
LARGEST_PACK = 512 << 20
_SIDE = f"{HOME}/.dockwright.git"
_THEIRS = f"{WORKSPACE}/.git"
_PACK = f"{_SIDE}/new.pack"
_OWN_PACK = f"{HOME}/.dockwright-own.pack"
_SLICE = 8 << 20
_DEADLINE = 300.0
_SETTINGS = {
    "core.excludesFile": "/dev/null", "core.attributesFile": "/dev/null",
    "core.hooksPath": "/dev/null", "core.fsmonitor": "false", "core.protectHFS": "true", "core.protectNTFS": "true",
    "gc.auto": "0", "core.logAllRefUpdates": "false", "core.bigFileThreshold": "64m", "index.skipHash": "true",
    "core.fsync": "none",
}  # fmt: skip
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_ATTR_NOSYSTEM": "1", "LC_ALL": "C",
    "GIT_NO_REPLACE_OBJECTS": "1", "GIT_LITERAL_PATHSPECS": "1", "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
    **{f"GIT_CONFIG_KEY_{index}": name for index, name in enumerate(_SETTINGS)},
    **{f"GIT_CONFIG_VALUE_{index}": value for index, value in enumerate(_SETTINGS.values())},
}  # fmt: skip
# GIT KNOWN PACK: what git cannot take is left out (1); of a tree that is not KNOWN, what KNOWN has not is in PACK.
_KEEP = """
"$1" add --all --ignore-errors --no-warn-embedded-repo . || [ $? = 1 ] || exit
tree=$("$1" write-tree) || exit
echo "$tree"
[ "$tree" = "$2" ] ||
  printf '%s\\n^%s\\n' "$tree" "$2" | "$1" pack-objects --revs -q --delta-base-offset --stdout > "$3"
"""
# GIT BASE PACK: the commit that the agent is at; unless it is BASE, what BASE does not have is packed into PACK.
_PACK_COMMITS = """
head=$("$1" rev-parse --verify "HEAD^{commit}") || exit
echo "$head"
[ "$head" = "$2" ] ||
  printf '%s\\n^%s\\n' "$head" "$2" | "$1" pack-objects --revs -q --delta-base-offset --stdout > "$3"
"""
_NO_HISTORY = ("error: unable to normalize alternate object path", "error: object directory ")
_ID = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# Whatever stands there, with whatever permissions, goes out of the way.
_REMOVE = """
import contextlib, os, shutil, sys, time
aside = f"{sys.argv[1]}.{time.time_ns()}"
with contextlib.suppress(FileNotFoundError):
    os.rename(sys.argv[1], aside)
if os.path.isdir(aside) and not os.path.islink(aside):
    shutil.rmtree(aside, ignore_errors=True)
"""


async def enter(sandbox: Sandbox, quarantine: Quarantine, commit: str, branch: str, object_format: str) -> None:
    """Fill an empty /workspace: a repository on `branch` at `commit` with its history, and its files, all clean."""
    config = _config(object_format) + f"\tlogallrefupdates = true\n[user]\n\tname = {NAME}\n\temail = {MAIL}\n"
    ignored = {"info/exclude": "\n".join(CACHES) + "\n" + await exclusions(quarantine)}
    refs = {f"refs/heads/{branch}": commit, "HEAD": f"ref: refs/heads/{branch}", **ignored}
    await _write_repository(sandbox, _THEIRS, config, refs)
    if shallow := quarantine.shallow():
        await sandbox.write(f"{_THEIRS}/shallow", shallow)
    await _send(sandbox, quarantine, _THEIRS, f"{commit}\n")
    await _ok(sandbox, _THEIRS, "read-tree", "--reset", "-u", commit)
    await _new_side(sandbox, _config(object_format), {"objects/info/alternates": f"{_THEIRS}/objects", **ignored})
    await sandbox.write(f"{_SIDE}/index", await sandbox.read(f"{_THEIRS}/index"))
    await lay_out(sandbox, quarantine)


async def rebuild(sandbox: Sandbox, quarantine: Quarantine, tree: str, object_format: str) -> None:
    """Make our repository anew, standing at `tree` and needing nothing of the agent's."""
    ignored = {"info/exclude": "\n".join(CACHES) + "\n" + await exclusions(quarantine)}
    await _new_side(sandbox, _config(object_format), ignored)
    await _send(sandbox, quarantine, _SIDE, f"{tree}\n")
    await _ok(sandbox, _SIDE, "read-tree", tree)


async def restore(sandbox: Sandbox, quarantine: Quarantine, tree: str) -> None:
    """Make the files those of `tree`: what is not in it and not ignored goes away."""
    await _send(sandbox, quarantine, _SIDE, f"{tree}\n")
    await _run(sandbox, _SIDE, [_git(sandbox), "add", "--all", "--ignore-errors", "--no-warn-embedded-repo", "."])
    await _ok(sandbox, _SIDE, "read-tree", "--reset", "-u", tree)


@dataclass(frozen=True)
class Kept:
    """The files as they are: a tree, the path of a pack with what is new, git's words on what it could not take."""

    tree: str
    pack: str | None
    complaints: tuple[str, ...]


async def keep(sandbox: Sandbox, known: str) -> Kept:
    """Look at all files. There is a pack, named by its path inside, unless the tree is `known`."""
    result = await _run(sandbox, _SIDE, [sandbox.shell, "-c", _KEEP, "sh", _git(sandbox), known, _PACK])
    lines = result.stderr.decode(errors="replace").splitlines()
    if any(line.startswith(_NO_HISTORY) for line in lines):
        raise GitError("the history that we share with the agent's repository is gone")
    complaints = tuple(line.removeprefix("error: ")[:500] for line in lines if line.startswith("error: "))
    tree = _id(result)
    return Kept(tree, None if tree == known else _PACK, complaints[:50])


async def pack_commits(sandbox: Sandbox, base: str) -> tuple[str, str | None]:
    """The commit that the agent's repository is at, and the path inside of a pack with all that is new since `base`."""
    argv = [sandbox.shell, "-c", _PACK_COMMITS, "sh", _git(sandbox), base, _OWN_PACK]
    head = _id(await _run(sandbox, _THEIRS, argv))
    return head, None if head == base else _OWN_PACK


async def put_back(sandbox: Sandbox, changes: list[Change]) -> None:
    """Undo changes in our index, and look away from new paths from now on. The files stay as they are."""
    ours = f"{_SIDE}/info/exclude"
    new = [change.path for change in changes if not change.old and b"\n" not in change.path]
    patterns = b"".join(b"/" + re.sub(rb"([\\*?\[ ])", rb"\\\1", path) + b"\n" for path in new)
    await sandbox.write(ours, await sandbox.read(ours, limit=_SLICE) + patterns)
    lines = b"".join(
        b"%s %s\t%s\0" % (old.mode.encode(), old.oid.encode(), change.path)
        for change in changes
        for old in [change.old or Entry("0", "0" * 40)]
    )
    await _ok(sandbox, _SIDE, "update-index", "-z", "--index-info", stdin=lines)
    kept = b"".join(change.path + b"\0" for change in changes if change.old)
    await _ok(sandbox, _SIDE, "update-index", "--skip-worktree", "-z", "--stdin", stdin=kept)


async def read_pack(sandbox: Sandbox, path: str, file: IO[bytes]) -> None:
    size = 0
    while part := await sandbox.read(path, offset=size, limit=_SLICE):
        size += len(part)
        if size > LARGEST_PACK:
            raise GitError(f"what changed is larger than {LARGEST_PACK >> 20} MiB")
        file.write(part)
        if len(part) < _SLICE:
            return


async def _ok(sandbox: Sandbox, git_dir: str, *arguments: str, stdin: bytes = b"") -> None:
    result = await _run(sandbox, git_dir, [_git(sandbox), *arguments], stdin)
    if result.exit_code != 0:
        raise GitError(_words(result))


async def _run(sandbox: Sandbox, git_dir: str, argv: list[str], stdin: bytes = b"") -> ExecResult:
    env = {"GIT_DIR": git_dir, "GIT_WORK_TREE": WORKSPACE, **_ENVIRONMENT}
    if sandbox.runtime == RUNTIME:
        env["GIT_EXEC_PATH"] = f"{RUNTIME}/libexec/git-core"
    return await sandbox.exec(argv, env=env, stdin=stdin, timeout=_DEADLINE, limit=1 << 16)


def _git(sandbox: Sandbox) -> str:
    return f"{sandbox.runtime}/bin/git"


def _id(result: ExecResult) -> str:
    """The object name that git printed, which is all it may print. Raises GitError where it failed."""
    said = result.stdout.strip()
    if result.exit_code != 0 or not _ID.fullmatch(said):
        raise GitError(_words(result))
    return said.decode()


def _words(result: ExecResult) -> str:
    if result.ended != "exit":
        return f"git did not end within {_DEADLINE:g} seconds"
    return result.stderr.decode(errors="replace").strip()[:500] or f"git ended with {result.exit_code}"


def _config(object_format: str) -> str:
    if object_format == "sha1":
        return "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
    return f"[extensions]\n\tobjectformat = {object_format}\n[core]\n\trepositoryformatversion = 1\n\tbare = false\n"


async def _write_repository(sandbox: Sandbox, git_dir: str, config: str, files: dict[str, str]) -> None:
    """A repository is these few files; no template, hook or remote comes with them."""
    usual = {
        "HEAD": "ref: refs/heads/main",
        "config": config,
        "info/exclude": "\n".join(CACHES),
        "refs/heads/.keep": "",
        "objects/pack/.keep": "",
    }
    for name, text in (usual | files).items():
        await sandbox.write(f"{git_dir}/{name}", f"{text.rstrip()}\n".encode())


async def _new_side(sandbox: Sandbox, config: str, files: dict[str, str]) -> None:
    try:
        await sandbox.stat(_SIDE)
    except FileNotFoundError:
        pass
    else:
        await sandbox.python(_REMOVE, _SIDE, cwd="/")
    await _write_repository(sandbox, _SIDE, config, files)


async def _send(sandbox: Sandbox, quarantine: Quarantine, git_dir: str, wanted: str) -> None:
    """Put objects with all they lead to into a repository inside."""
    async for name, data in quarantine.packs(wanted):
        await sandbox.write(f"{git_dir}/objects/pack/{name}", data)
