"""Ignored files that the user asked for (a `.env`, test data): in the sandbox as they are, in no commit, never out."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from dockwright.errors import ConfigError
from dockwright.sandbox import WORKSPACE, Sandbox
from dockwright.workspace.hardened import command, run
from dockwright.workspace.names import quoted, refusal, text
from dockwright.workspace.objects import LINK, PROGRAM, Entry, blobs, sizes, tree_of
from dockwright.workspace.quarantine import MAIL, NAME, Quarantine
from dockwright.workspace.scan import mode_of, read
from dockwright.workspace.source import Folder, Repository
from dockwright.workspace.tree import Tree

REF = "refs/dockwright/included"
_MOST_BYTES = 256 << 20
_SPECIAL = re.compile(r"([\\*?\[ ])")


async def take_included(
    source: Repository | Folder, patterns: Sequence[str], quarantine: Quarantine, left_out: Sequence[str]
) -> list[str]:
    """Keep the ignored files of the user's folder that match, as a commit of their own in the quarantine. Returns what
    is left out all the same.

    A pattern without a slash matches at any depth, that of a folder all that is in it. Raises ConfigError where one
    matches nothing, or where they are too large.
    """
    paths: set[bytes] = set()
    for pattern in patterns:
        found = await _matching(source, pattern, quarantine)
        if not found:
            raise ConfigError(f"--include {pattern}: no ignored file of {source.path} matches it. Check the pattern.")
        paths |= found
    with TemporaryFile(dir=quarantine.folder.parent) as stream:
        await asyncio.to_thread(_write_stream, stream, source.path, sorted(paths))
        stream.seek(0)
        await quarantine.git("fast-import", "--quiet", "--done", stdin=stream)
    return [line for line in left_out if os.fsencode(line.rpartition(": ignored by git")[0]) not in paths]


async def lay_out(sandbox: Sandbox, quarantine: Quarantine) -> None:
    """Write them into the sandbox's workspace."""
    entries = await included(quarantine)
    wanted = await sizes(quarantine, {entry.oid for entry in entries.values()})
    contents = {oid: data async for oid, data in blobs(quarantine, wanted)}
    for path, entry in entries.items():
        name, data = f"{WORKSPACE}/{text(path)}", contents[entry.oid]
        if entry.mode == LINK:
            await sandbox.exec(["ln", "-sfn", "--", text(data), name])
        else:
            await sandbox.write(name, data, mode=0o755 if entry.mode == PROGRAM else 0o644)


async def exclusions(quarantine: Quarantine) -> str:
    """Lines for `info/exclude`, so that they stay ignored whatever made git ignore them."""
    paths = (text(path) for path in await included(quarantine) if b"\n" not in path)
    return "".join("/" + _SPECIAL.sub(r"\\\1", path) + "\n" for path in paths)


async def included(quarantine: Quarantine) -> dict[bytes, Entry]:
    """Those that were taken in, by path."""
    return await tree_of(quarantine, REF) if (quarantine.folder / REF).exists() else {}


async def _matching(source: Repository | Folder, pattern: str, quarantine: Quarantine) -> set[bytes]:
    deep = [pattern] if "/" in pattern.strip("/") else [pattern, f"**/{pattern}"]
    specs = [f":(glob){spec.strip('/')}{rest}" for spec in deep for rest in ("", "/**")]
    arguments = ["ls-files", "-o", "-i", "--exclude-standard", "-z", "--", *specs]
    if isinstance(source, Repository):
        listing = await source.git(*arguments)
    else:
        line = command(quarantine.folder, arguments, work_tree=source.path, config=source.config)
        listing = await run(line, cwd=source.path)
    return {path for path in listing.split(b"\0")[:-1] if not path.endswith(b"/") and refusal(path) is None}


def _write_stream(stream: IO[bytes], root: Path, paths: Sequence[bytes]) -> None:
    stream.write(f"commit {REF}\ncommitter {NAME} <{MAIL}> 0 +0000\ndata 8\nIncluded\n".encode())
    with Tree(root) as tree:
        for path in paths:
            facts = tree.stat(path)
            mode = mode_of(facts) if facts else None
            data = read(tree, path, []) if mode else None
            if mode is None or data is None:
                continue
            stream.write(b"M %s inline %s\ndata %d\n%s\n" % (mode.encode(), quoted(path), len(data), data))
            if stream.tell() > _MOST_BYTES:
                raise ConfigError(
                    f"The ignored files that were asked for are larger than {_MOST_BYTES >> 20} MiB together. "
                    "Choose narrower patterns, then run again."
                )
    stream.write(b"\ndone\n")
