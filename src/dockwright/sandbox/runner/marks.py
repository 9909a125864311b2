"""The mark of a folder: a number that changes with anything in it, made without a look into any file.

It goes by what git goes by to know that a file is as it was, with git's care: two changes within one tick of the clock
that files get their times from look the same, so a mark counts only where it was the same for longer than that.
"""

from __future__ import annotations

import asyncio
import os
import stat
from itertools import islice
from typing import Any

TICK_SECONDS = 0.02  # longer than any kernel's
SLICE = 100  # entries looked at before others have their turn


async def mark_of(args: dict[str, Any]) -> dict[str, Any]:
    """That of `path`, without what is inside of `but`. None where it cannot be told: there are more than `most`
    entries, one cannot be looked at, times are kept in whole seconds, or something changes all the time. One that is
    `known` was waited for before."""
    try:
        mark = await _look(args["path"], args["but"], args["most"])
        if mark is None or mark == args["known"]:
            return {"mark": mark}
        await asyncio.sleep(TICK_SECONDS)
        return {"mark": mark if mark == await _look(args["path"], args["but"], args["most"]) else None}
    except OSError:
        return {"mark": None}


async def _look(folder: str, but: str, most: int) -> int | None:
    """A hash of names and facts, for which each runner makes a key of its own."""
    facts: list[tuple[object, ...]] = []
    paths, fine = [folder], False
    for number, path in enumerate(paths):
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            facts.append((path,))
            continue
        facts.append((path, found.st_mode, found.st_ino, found.st_uid, found.st_gid))
        if not stat.S_ISDIR(found.st_mode):
            facts.append((found.st_size, found.st_mtime_ns, found.st_ctime_ns))
            fine = fine or found.st_ctime_ns % 10**9 != 0
        elif path != but:
            with os.scandir(path) as entries:
                paths += sorted(entry.path for entry in islice(entries, most))
        if len(paths) > most:
            return None
    return hash(tuple(facts)) if fine else None
