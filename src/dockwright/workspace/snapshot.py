"""A folder of the user's becomes commits in a quarantine repository: HEAD's history, and on top what is uncommitted.

The folder, its index, refs, stash and configuration are only read.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from dockwright.errors import ConfigError
from dockwright.workspace.hardened import command, run
from dockwright.workspace.included import take_included
from dockwright.workspace.names import quoted, refusal, text
from dockwright.workspace.objects import with_line_feeds
from dockwright.workspace.quarantine import MAIL, NAME, Quarantine
from dockwright.workspace.scan import Found, Scan, read, scan_files, scan_repository
from dockwright.workspace.source import LARGEST_HISTORY, Folder, Repository, find_source, is_partial
from dockwright.workspace.space import Checkpoint, Workspace
from dockwright.workspace.tree import Tree

_MOST_FILES = 200_000
_MOST_BYTES = 1 << 30
_HISTORY_DEADLINE = 900.0
CARRIED_IN = "Uncommitted work carried in"


async def snapshot(repo: Path, state: Path, base: str | None = None, include: Sequence[str] = ()) -> Workspace:
    """Take the folder `repo` into `state`, a private folder of the run, and return the workspace to start from: as it
    is, or at the commit `base` of its history. Ignored files come along where a pattern of `include` matches them.

    Raises ConfigError where `repo` is missing, is no folder, leads outside of itself or is too large to carry in.
    """
    source = await find_source(repo)
    if base is not None:
        source = await _at(source, base)
    os.makedirs(state, mode=0o700, exist_ok=True)
    object_format = source.object_format if isinstance(source, Repository) else "sha1"
    quarantine = await Quarantine.create(state / "objects.git", object_format)
    match source:
        case Repository():
            scan = await scan_repository(source) if base is None and not source.bare else Scan()
            await _import(source, scan, quarantine)
            head, branch = source.head, source.branch
        case Folder():
            scan = await _scan_folder(source, quarantine)
            head, branch = None, "main"
    if include:
        scan.left_out = await take_included(source, include, quarantine, scan.left_out)
    carried: tuple[str, ...] = ()
    base = head
    if base is None or scan.changes:
        base, carried = await _carry_in(source.path, scan, quarantine, head)
    await quarantine.git("update-ref", "refs/dockwright/base", base)
    start = Checkpoint(base, await quarantine.id(f"{base}^{{tree}}"))
    left_out = tuple(scan.left_out)
    workspace = Workspace(source.path, state, base, head, branch, object_format, carried, left_out, last=start)
    workspace.save()
    return workspace


async def _at(source: Repository | Folder, base: str) -> Repository:
    """The repository as if its HEAD stood at a commit."""
    if not isinstance(source, Repository):
        raise ConfigError(f"{source.path} is no git repository, so there is no commit {base} to start from.")
    try:
        commit = await source.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    except ConfigError as error:
        raise ConfigError(f"{source.path} has no commit {base}. Fetch it there, then run again.") from error
    return replace(source, head=commit.decode().strip(), branch="main")


async def _import(source: Repository, scan: Scan, quarantine: Quarantine) -> None:
    """Take in HEAD's history and the objects that only the index knows, as packs."""
    if bad := [f"{text(path)}: {why}" for path in scan.head if (why := refusal(path))]:
        raise ConfigError(f"The HEAD of {source.path} holds paths that must not be checked out: {'; '.join(bad[:5])}.")
    staged = [found.oid for found in scan.changes if found.oid and found.mode != "160000"]
    wanted = "".join(f"{oid}\n" for oid in [source.head, *staged] if oid).encode()
    if not wanted:
        return
    try:
        await _carry(source, wanted, source.shallow, quarantine)
    except ConfigError:
        if not (source.head and await is_partial(source)):
            raise
        scan.left_out.append(f"the history before {source.head[:7]}, as {source.path} is a partial clone")
        try:
            await _carry(
                source, f"--shallow {source.head}\n".encode() + wanted, f"{source.head}\n".encode(), quarantine
            )
        except ConfigError as error:
            raise ConfigError(
                f"{source.path} is a partial clone that does not have all files of its HEAD. Fetch them, then run "
                f"again: git -C {source.path} fetch --refetch --no-filter"
            ) from error


async def _carry(source: Repository, wanted: bytes, shallow: bytes, quarantine: Quarantine) -> None:
    """`wanted` is what `pack-objects --revs` reads, `shallow` names the commits whose parents stay behind."""
    if shallow:
        (quarantine.folder / "shallow").write_bytes(shallow)
    with TemporaryFile(dir=quarantine.folder.parent) as pack:
        line = ["pack-objects", "--revs", "--stdout", "--quiet", "--window=0", "--delta-base-offset"]
        await source.git(*line, stdin=wanted, stdout=pack, deadline=_HISTORY_DEADLINE)
        pack.seek(0)
        await quarantine.git("index-pack", "--stdin", stdin=pack, deadline=_HISTORY_DEADLINE, largest=LARGEST_HISTORY)


async def _scan_folder(source: Folder, quarantine: Quarantine) -> Scan:
    """The names come from git, for `.gitignore` is honoured here too; our repository, the user's folder."""
    line = command(
        quarantine.folder, ["ls-files", "-o", "--exclude-standard", "-z"], work_tree=source.path, config=source.config
    )
    names = (await run(line, cwd=source.path)).split(b"\0")[:-1]
    with Tree(source.path) as tree:
        return await asyncio.to_thread(scan_files, tree, names)


async def _carry_in(root: Path, scan: Scan, quarantine: Quarantine, head: str | None) -> tuple[str, tuple[str, ...]]:
    """Commit what is uncommitted on top of HEAD (of an empty folder, an empty tree); the commit and its paths."""
    with TemporaryFile(dir=quarantine.folder.parent) as stream:
        carried = await asyncio.to_thread(_write_stream, stream, root, scan, head)
        stream.seek(0)
        await quarantine.git("fast-import", "--quiet", "--done", stdin=stream, deadline=_HISTORY_DEADLINE)
    return await quarantine.id("refs/dockwright/base"), carried


def _write_stream(stream: IO[bytes], root: Path, scan: Scan, head: str | None) -> tuple[str, ...]:
    """The commit in git's fast-import format, and the paths in it. Deletions come first: a file may become a folder."""
    if len(scan.changes) > _MOST_FILES:
        raise ConfigError(
            f"{root} holds {len(scan.changes):,} uncommitted files, more than {_MOST_FILES:,}. "
            "Commit them or have git ignore them (.gitignore), then run again."
        )
    when = f"{int(time.time())} +0000"
    stream.write(b"commit refs/dockwright/base\n")
    message = CARRIED_IN if scan.changes else "Start with nothing"
    stream.write(f"committer {NAME} <{MAIL}> {when}\ndata {len(message)}\n{message}\n".encode())
    if head:
        stream.write(f"from {head}\n".encode())
    carried = [found.path for found in scan.changes if found.mode is None]
    stream.writelines(b"D %s\n" % quoted(path) for path in carried)
    with Tree(root) as tree:
        for found in scan.changes:
            line = _line(tree, found, scan.left_out) if found.mode else None
            if line:
                stream.write(line)
                carried.append(found.path)
            if stream.tell() > _MOST_BYTES:
                raise ConfigError(
                    f"The uncommitted files of {root} are larger than {_MOST_BYTES >> 20} MiB together. "
                    "Commit them or have git ignore them (.gitignore), then run again."
                )
    stream.write(b"\ndone\n")
    return tuple(text(path) for path in sorted(carried))


def _line(tree: Tree, found: Found, left_out: list[str]) -> bytes | None:
    """The fast-import line for a file, its bytes with it unless git has them; None where it cannot be read now."""
    start = b"M %s " % (found.mode or "").encode()
    if found.oid:
        return start + b"%s %s\n" % (found.oid.encode(), quoted(found.path))
    data = read(tree, found.path, left_out)
    if data is None:
        return None
    data = with_line_feeds(data) if found.line_feeds else data
    return start + b"inline %s\ndata %d\n" % (quoted(found.path), len(data)) + data + b"\n"
