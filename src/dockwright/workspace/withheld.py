"""Files that hold a secret do not leave with the work: not in a branch, which is pushed, nor in a patch, which is
mailed. Redacting them would hand over something else than was proven."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dockwright.redaction import Redaction
from dockwright.workspace.names import text
from dockwright.workspace.objects import SUBMODULE, Change, Entry, blobs, sizes
from dockwright.workspace.quarantine import Quarantine
from dockwright.workspace.space import Checkpoint, Workspace

_HELD = "it holds the secret {}"


async def withhold(workspace: Workspace, redaction: Redaction) -> Checkpoint:
    """Take back, in a checkpoint on top of the last one, each file that holds a secret which it did not hold before."""
    if not redaction:
        return workspace.last
    quarantine, last = workspace.quarantine, workspace.last
    found = await held(quarantine, await quarantine.changes(workspace.base, last.commit), redaction)
    if not found:
        return last
    tree = await quarantine.with_entries(last.tree, {change.path: change.old for change in found})
    commit = await quarantine.commit(tree, last.commit, "Without the files that hold secrets", "@0 +0000")
    told = [f"{text(change.path)}: {_HELD.format(', '.join(sorted(names)))}" for change, names in found.items()]
    workspace.last = replace(last, commit=commit, tree=tree, left_out=(*last.left_out, *told))
    workspace.save()
    return workspace.last


async def held(quarantine: Quarantine, changes: Sequence[Change], redaction: Redaction) -> dict[Change, set[str]]:
    """The changes that bring a secret into a file, with its names."""
    if not redaction:
        return {}
    known = await _secrets_in(
        quarantine, (entry for change in changes for entry in (change.old, change.new)), redaction
    )
    return {
        change: names
        for change in changes
        if change.new and (names := known[change.new.oid] - (known[change.old.oid] if change.old else set()))
    }


async def shown_in_patch(workspace: Workspace, commit: str, redaction: Redaction) -> dict[str, str]:
    """The changed files that held a secret all along, which their lines in a patch could show; and why not to."""
    if not redaction:
        return {}
    changes = await workspace.quarantine.changes(workspace.base, commit)
    entries = [entry for change in changes for entry in (change.old, change.new)]
    known = await _secrets_in(workspace.quarantine, entries, redaction)
    return {
        text(change.path): _HELD.format(", ".join(sorted(names)))
        for change in changes
        if (names := set().union(*(known[entry.oid] for entry in (change.old, change.new) if entry)))
    }


async def _secrets_in(
    quarantine: Quarantine, entries: Iterable[Entry | None], redaction: Redaction
) -> dict[str, set[str]]:
    oids = {entry.oid for entry in entries if entry and entry.mode != SUBMODULE}
    sized = await sizes(quarantine, oids)
    return {oid: set[str]() for oid in oids} | {
        oid: await asyncio.to_thread(redaction.names_in, data) async for oid, data in blobs(quarantine, sized)
    }
