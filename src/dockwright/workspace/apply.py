"""A run's changes put into the user's folder, file by file, to be reviewed: nothing is staged, no git writes.

A path that moved on since is merged, on copies of ours. All paths are checked before any is changed, and files are
replaced whole, so that doing it again after a crash finishes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dockwright.errors import ConfigError
from dockwright.workspace.hardened import GitError, command
from dockwright.workspace.hardened import run as run_git
from dockwright.workspace.names import leads_outside, refusal, text
from dockwright.workspace.objects import (
    FILE,
    LINK,
    PROGRAM,
    SUBMODULE,
    Change,
    Entry,
    blob_id,
    blobs,
    link_targets,
    sizes,
    tree_of,
    with_line_feeds,
)
from dockwright.workspace.quarantine import Quarantine
from dockwright.workspace.scan import LARGEST_FILE, mode_of, scan_repository
from dockwright.workspace.source import Folder, Repository, find_source
from dockwright.workspace.space import Workspace
from dockwright.workspace.tree import Tree


@dataclass(frozen=True)
class _Rules:
    """What it takes to compare: how objects are named, whether executable bits count, and facts of the new ones."""

    object_format: str
    file_mode: bool
    sizes: dict[str, int] = field(default_factory=dict)
    targets: dict[str, bytes] = field(default_factory=dict)


@dataclass
class _Plan:
    """`todo` are changes that can be made; `crlf` the paths that are checked out with CRLF line ends,
    `merges` what moved on since and `merged` what came of merging it."""

    todo: list[Change] = field(default_factory=list)
    crlf: set[bytes] = field(default_factory=set)
    merges: list[Change] = field(default_factory=list)
    merged: dict[bytes, bytes] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)


async def apply(
    repo: Path, state: Path, run: str, *, old: str | None = None, new: str | None = None, markers: bool = False
) -> tuple[str, ...]:
    """Write what a run delivered into the folder `repo`; `state` is the run's. Returns the paths that were changed.

    `old` and `new` are checkpoints of the run: what the folder has of it already, and what it shall have, if these are
    not the base and what was delivered.

    A file that was committed to since is merged; with `markers`, what meets in it is left to the user, marked.

    Raises ConfigError, naming paths, where there is uncommitted work that the run did not know, or where a path cannot
    be merged; then nothing was changed.
    """
    workspace = Workspace.load(state)
    quarantine = workspace.quarantine
    start = old or workspace.base
    try:
        commit = new or await quarantine.id(f"refs/heads/dockwright/{run}^{{commit}}")
    except GitError:
        raise ConfigError(f"The run {run} delivered nothing that could be applied.") from None
    target = await find_source(repo)
    if isinstance(target, Repository):
        if target.bare:
            raise ConfigError(f"{repo} has no working tree. Merge the branch dockwright/{run} instead.")
        known = [await tree_of(quarantine, treeish) for treeish in (start, commit)]
        await _refuse_uncommitted(target, known, run)
    changes = await quarantine.changes(start, commit)
    known_sizes = await sizes(quarantine, {change.new.oid for change in changes if change.new})
    targets = await link_targets(quarantine, {ch.new.oid for ch in changes if ch.new and ch.new.mode == LINK})
    rules = _Rules(workspace.object_format, isinstance(target, Folder) or target.file_mode, known_sizes, targets)
    plan = await asyncio.to_thread(_plan, target.path, changes, rules)
    await _merge(quarantine, target.path, plan, markers)
    if plan.conflicts:
        raise ConfigError(
            f"The changes of {run} do not fit into {repo}: {_some(sorted(plan.conflicts))}. Nothing was changed. "
            f"Merge by hand: the change is in {state / 'changes.patch'} (`git apply --3way`)."
        )
    with Tree(target.path) as tree:
        for change in plan.todo:
            if change.new is None:
                await asyncio.to_thread(tree.remove, change.path)
    wanted = {change.new.oid: known_sizes[change.new.oid] for change in plan.todo if change.new}
    with Tree(target.path) as tree:
        async for oid, data in blobs(quarantine, wanted):
            same = [change for change in plan.todo if change.new and change.new.oid == oid]
            await asyncio.to_thread(_write, tree, same, data, plan.crlf)
        for change in plan.merges:
            await asyncio.to_thread(_write, tree, [change], plan.merged[change.path], plan.crlf)
    return tuple(text(change.path) for change in changes)


async def _merge(quarantine: Quarantine, root: Path, plan: _Plan, markers: bool) -> None:
    """Three-way, by git, on copies of ours: what the folder has, what the run started from, what it made."""
    with TemporaryDirectory(dir=quarantine.folder.parent) as folder, Tree(root) as tree:
        for path, old, new in plan.merges:
            mine = await asyncio.to_thread(tree.read, path, LARGEST_FILE)
            sides = {"yours": with_line_feeds(mine)}
            for name, entry in (("base", old), ("theirs", new)):
                sides[name] = await quarantine.git("cat-file", "blob", entry.oid) if entry else b""
            if any(b"\0" in data for data in sides.values()):
                plan.conflicts.append(f"{text(path)} (changed since)")
                continue
            for name, data in sides.items():
                await asyncio.to_thread(Path(folder, name).write_bytes, data)
            labels = ["-L", "yours", "-L", "before", "-L", "the run"]
            script = '"$@"; test $? -lt 128' if markers else ""  # its exit code is the number of conflicts
            line = command(quarantine.folder, ["merge-file", "-p", "--quiet", *labels, *sides], script=script)
            try:
                plan.merged[path] = await run_git(line, cwd=Path(folder))
            except GitError:
                plan.conflicts.append(f"{text(path)} (changed since)")
            if sides["yours"] != mine:
                plan.crlf.add(path)


async def _refuse_uncommitted(target: Repository, known: list[dict[bytes, Entry]], run: str) -> None:
    """Tracked files that are not as in HEAD, nor as the run found or left them, are somebody's work."""
    scan = await scan_repository(target)
    rules = _Rules(target.object_format, target.file_mode)
    with Tree(target.path) as tree:
        dirty = [
            text(found.path)
            for found in scan.changes
            if found.path in scan.head or found.oid
            if not any(_holds(tree, found.path, entries.get(found.path), rules) for entries in known)
        ]
    if dirty:
        raise ConfigError(
            f"{target.path} has uncommitted changes: {_some(dirty)}. Nothing was changed. Commit or stash them, "
            f"then apply again; or merge the branch dockwright/{run}."
        )


def _plan(root: Path, changes: list[Change], rules: _Rules) -> _Plan:
    """Look at each path, and change nothing."""
    plan = _Plan()
    leaving = {change.path for change in changes if change.new is None}
    with Tree(root) as tree:
        for change in changes:
            path, old, new = change
            blocker = tree.blocker(path)
            if why := _refusal(change, rules):
                plan.conflicts.append(f"{text(path)} ({why})")
            elif _holds(tree, path, new, rules):
                continue
            elif not _holds(tree, path, old, rules):
                if old and new and _is_plain(tree, change):
                    plan.merges.append(change)
                    continue
                why = f"{'changed' if tree.stat(path) else 'gone'} since" if old else "there is another"
                plan.conflicts.append(f"{text(path)} ({why})")
            elif blocker and blocker not in leaving:
                plan.conflicts.append(f"{text(path)} ({text(blocker)} is in its way)")
            else:
                plan.todo.append(change)
                if old and not _holds(tree, path, old, rules, exactly=True):
                    plan.crlf.add(path)
    return plan


def _is_plain(tree: Tree, change: Change) -> bool:
    """Whether all three sides are regular files."""
    facts = tree.stat(change.path)
    modes = {mode_of(facts) if facts else None, *(entry.mode for entry in change[1:] if entry)}
    return modes <= {FILE, PROGRAM}


def _refusal(change: Change, rules: _Rules) -> str | None:
    new = change.new
    if SUBMODULE in {entry.mode for entry in (change.old, new) if entry}:
        return "a submodule"
    if new and rules.sizes[new.oid] > LARGEST_FILE:
        return "too large"
    if new and new.mode == LINK and leads_outside(change.path, rules.targets[new.oid]):
        return "a link that leads out of the folder"
    return refusal(change.path)


def _holds(tree: Tree, path: bytes, entry: Entry | None, rules: _Rules, *, exactly: bool = False) -> bool:
    """Whether the folder has just this at a path; CRLF line ends are as good unless `exactly`."""
    facts = tree.stat(path)
    if entry is None or facts is None:
        return entry is None and facts is None
    mode = mode_of(facts)
    if mode is None or facts.st_size > LARGEST_FILE:
        return False
    if mode != entry.mode and (rules.file_mode or LINK in (mode, entry.mode)):
        return False
    data = tree.read(path, LARGEST_FILE)
    forms = (data,) if exactly or mode == LINK else (data, with_line_feeds(data))
    return any(blob_id(form, rules.object_format) == entry.oid for form in forms)


def _write(tree: Tree, changes: Iterable[Change], data: bytes, crlf: set[bytes]) -> None:
    for change in changes:
        if change.new:
            ends = change.path in crlf and b"\r\n" not in data
            tree.write(change.path, change.new.mode, data.replace(b"\n", b"\r\n") if ends else data)


def _some(names: list[str]) -> str:
    rest = len(names) - 10
    return ", ".join(names[:10]) + (f" and {rest} more" if rest > 0 else "")
