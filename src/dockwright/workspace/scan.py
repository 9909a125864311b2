"""What in a folder of the user's is not its HEAD: tracked changes, deletions, new files that are not ignored.

Git lists index and untracked files; the files are read here, by descriptor. No filter of the repository runs: a file
whose stat data is the index's is taken as what the index holds, and CRLF and Git LFS forms are recognised by content.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from dockwright.errors import ConfigError
from dockwright.workspace.names import refusal, text
from dockwright.workspace.objects import (
    FILE,
    LINK,
    POINTER_SIZE,
    PROGRAM,
    SUBMODULE,
    Entry,
    blob_id,
    blobs,
    is_content_of,
    sizes,
    tree_of,
    with_line_feeds,
)
from dockwright.workspace.source import Repository
from dockwright.workspace.tree import Tree

LARGEST_FILE = 100 << 20
_LARGEST_TEXT = 1 << 20
_INDEX_LINE = re.compile(
    rb"(\d{6}) ([0-9a-f]+) (\d)\t([^\0]*)\0  ctime: (\d+):(\d+)\n  mtime: (\d+):(\d+)\n  dev: \d+\tino: (\d+)\n"
    rb"  uid: \d+\tgid: \d+\n  size: (\d+)\tflags: ([0-9a-f]+)\n"
)
_ASSUMED, _SKIPPED, _INTENDED = 0x8000, 1 << 30, 1 << 29  # bits of git's cache entry flags


class Tracked(NamedTuple):
    """A path of the index. `entry` is None where the index holds no content for it: unmerged, or `add -N`.

    `facts` is what stat said when git last looked (mtime and ctime in ns, inode, size), None where it proves nothing.
    """

    path: bytes
    entry: Entry | None
    facts: tuple[int, int, int, int] | None
    assumed: bool


class Found(NamedTuple):
    """A path that is not HEAD's: gone (no mode), an object of the index (`oid`), or to be read from the folder."""

    path: bytes
    mode: str | None
    oid: str | None = None
    line_feeds: bool = False


@dataclass
class Scan:
    """`changes` are sorted by path; `left_out` names each thing that was not taken, and why."""

    head: dict[bytes, Entry] = field(default_factory=dict)
    changes: list[Found] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def keep(self, path: bytes, entry: Entry) -> None:
        """The folder holds what the index holds; it is a change where HEAD holds something else."""
        if self.head.get(path) != entry:
            self.changes.append(Found(path, entry.mode, entry.oid))


async def scan_repository(repository: Repository) -> Scan:
    """Everything uncommitted in a repository with a work tree. Raises ConfigError where it cannot be read."""
    scan = Scan(await tree_of(repository, repository.head) if repository.head else {})
    with _shared_index_kept(repository):
        index = await _index(repository)
        others = (await repository.git("ls-files", "-o", "--exclude-standard", "-z")).split(b"\0")[:-1]
        ignored = ("ls-files", "-o", "-i", "--exclude-standard", "--directory", "-z", "--", ":(glob)**/.env*")
        settings = (await repository.git(*ignored)).split(b"\0")[:-1]
    scan.left_out += [f"{text(path)}: ignored by git, so what needs it will miss it" for path in settings]
    with Tree(repository.path) as tree:
        dirty = await asyncio.to_thread(_compare, scan, tree, index, repository)
        await _settle(scan, tree, dirty, repository)
        await asyncio.to_thread(_add_untracked, scan, tree, others)
        scan.left_out += await asyncio.to_thread(_odd, tree, [*others, *(line.path for line in index)])
    known = {line.path for line in index} | {found.path for found in scan.changes}
    scan.changes += [Found(path, None) for path in scan.head.keys() - known]
    scan.changes.sort()
    return scan


def scan_files(tree: Tree, names: list[bytes]) -> Scan:
    """The same for a folder that is no repository: all of `names` that can be taken."""
    scan = Scan()
    _add_untracked(scan, tree, names)
    scan.left_out += _odd(tree, names)
    return scan


def mode_of(facts: os.stat_result) -> str | None:
    """Git's mode for a file or a link, None for anything else."""
    if stat.S_ISLNK(facts.st_mode):
        return LINK
    if stat.S_ISREG(facts.st_mode):
        return PROGRAM if facts.st_mode & stat.S_IXUSR else FILE
    return None


@contextmanager
def _shared_index_kept(repository: Repository) -> Iterator[None]:
    """Git marks the shared part of a split index as just used whenever it reads it; the user's time is put back."""
    before = {path: path.stat() for path in repository.git_dir.glob("sharedindex.*")}
    yield
    for path, facts in before.items():
        with suppress(OSError):
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns), follow_symlinks=False)


async def _index(repository: Repository) -> list[Tracked]:
    listing = await repository.git("ls-files", "-s", "-z", "--debug")
    file = repository.git_dir / "index"
    written = file.stat().st_mtime_ns if file.exists() else 0
    lines: dict[bytes, Tracked] = {}
    at = 0
    while at < len(listing):
        found = _INDEX_LINE.match(listing, at)
        if not found:
            raise ConfigError(f"The index of {repository.path} cannot be read. Commit or stash there, then run again.")
        at = found.end()
        mode, oid, stage, path, *numbers, flags = found.groups()
        ctime, ctime_ns, mtime, mtime_ns, inode, size = map(int, numbers)
        bits = int(flags, 16)
        facts = (mtime * 10**9 + mtime_ns, ctime * 10**9 + ctime_ns, inode, size)
        entry = Entry(mode.decode(), oid.decode()) if stage == b"0" and not bits & _INTENDED else None
        raced = facts[0] >= written
        lines[path] = Tracked(path, entry, None if raced else facts, bool(bits & (_ASSUMED | _SKIPPED)))
    return list(lines.values())


def _compare(scan: Scan, tree: Tree, index: list[Tracked], repository: Repository) -> list[tuple[Tracked, str, bool]]:
    """Sort out what is HEAD's and what the index knows; return what was edited, with its mode and "has CRLF"."""
    dirty = []
    for line in index:
        path, entry = line.path, line.entry
        if why := refusal(path):
            scan.left_out.append(f"{text(path)}: {why}")
            continue
        if entry and entry.mode == SUBMODULE:
            scan.left_out.append(f"{text(path)}: the content of a submodule")
            scan.keep(path, entry)
            continue
        facts = tree.stat(path)
        if entry and (line.assumed or (facts and line.facts == _facts(facts))):
            scan.keep(path, entry)
        elif facts is None or stat.S_ISDIR(facts.st_mode):
            if path in scan.head:
                scan.changes.append(Found(path, None))
        elif mode := mode_of(facts):
            mode = mode if repository.file_mode or not entry or LINK in (mode, entry.mode) else entry.mode
            data = read(tree, path, scan.left_out)
            if data is None:
                continue
            oids = {blob_id(form, repository.object_format) for form in (data, with_line_feeds(data))}
            if entry and entry.oid in oids:
                scan.keep(path, Entry(mode, entry.oid))
            else:
                dirty.append((line, mode, b"\r\n" in data))
    return dirty


def _facts(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_mtime_ns, found.st_ctime_ns, found.st_ino & 0xFFFFFFFF, found.st_size & 0xFFFFFFFF


async def _settle(scan: Scan, tree: Tree, dirty: list[tuple[Tracked, str, bool]], repository: Repository) -> None:
    """Tell edited files from those that only look so because a filter stands between them and the index."""
    known = await sizes(repository, {line.entry.oid for line, _, _ in dirty if line.entry})
    crlf = {line.entry.oid for line, _, has in dirty if has and line.entry}
    wanted = {oid: size for oid, size in known.items() if size < POINTER_SIZE or (oid in crlf and size < _LARGEST_TEXT)}
    pointers, plain = {}, set()
    async for oid, blob in blobs(repository, wanted):
        if blob.startswith(b"version https://git-lfs"):
            pointers[oid] = blob
        if oid in crlf and b"\r\n" not in blob:
            plain.add(oid)
    for line, mode, has_crlf in dirty:
        oid = line.entry.oid if line.entry else ""
        if oid in pointers and is_content_of(read(tree, line.path, []) or b"", pointers[oid]):
            scan.keep(line.path, Entry(mode, oid))
        else:
            scan.changes.append(Found(line.path, mode, None, has_crlf and oid in plain))


def _add_untracked(scan: Scan, tree: Tree, names: Iterable[bytes]) -> None:
    for path in names:
        why = "a repository of its own" if path.endswith(b"/") else refusal(path)
        facts = None if why else tree.stat(path)
        if why:
            scan.left_out.append(f"{text(path)}: {why}")
        elif facts and (mode := mode_of(facts)):
            scan.changes.append(Found(path, mode))


def _odd(tree: Tree, names: Iterable[bytes]) -> list[str]:
    """FIFOs, sockets and devices in the folders that hold these files."""
    left_out = []
    for folder in sorted({name.rpartition(b"/")[0] for name in names if not refusal(name)}):
        with suppress(OSError):
            left_out += [f"{text(path)}: neither file nor link" for path in sorted(tree.odd(folder))]
    return left_out


def read(tree: Tree, path: bytes, left_out: list[str]) -> bytes | None:
    """The bytes of a file, or None and a line in `left_out`. Raises ConfigError where it is too large to carry."""
    try:
        return tree.read(path, LARGEST_FILE)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ConfigError(
                f"{text(path)} is {error.strerror}, too large to carry in. Commit it, have git ignore it "
                "(.gitignore or .git/info/exclude), or move it away; then run again."
            ) from None
        left_out.append(f"{text(path)}: {error.strerror}")
        return None
