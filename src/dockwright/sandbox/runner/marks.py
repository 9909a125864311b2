"""The mark of a folder: a number that changes with anything in it, made without a look into any file.

It goes by what git goes by to know that a file is as it was, with git's care: two changes within one tick of the clock
that files get their times from look the same, so what is found counts only where it was found before, longer ago.
"""

from __future__ import annotations

import os
import stat
from itertools import islice

TYPE_CHECKING = False  # not typing's, which would have to be imported
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    Sleep = Callable[[float], Awaitable[None]]

TICK_SECONDS = 0.02  # longer than any kernel's
SLICE = 250  # entries looked at before others have their turn

Facts = dict[str, tuple[int, ...]]


async def mark_of(args: dict[str, Any], found: dict[str, Facts], sleep: Sleep) -> int | None:
    """That of `path`, without what is inside of `but`. None where it cannot be told: there are more than `most`
    entries, one cannot be looked at, times are kept in whole seconds, or something changes all the time. `found` is
    what was there the last time, by folder; what is new since is looked at twice."""
    folder = args["path"]
    before = found.get(folder, {})
    try:
        facts = await _look(folder, args["but"], args["most"], sleep)
        news = [path for path in facts if facts[path] != before.get(path)]
        if news:
            await sleep(TICK_SECONDS)
        for number, path in enumerate(news):
            if number % SLICE == SLICE - 1:
                await sleep(0)
            if _facts(path) != facts[path]:
                return None
    except OSError:
        found.pop(folder, None)
        return None
    found[folder] = facts
    times = [one[-1] for one in facts.values() if len(one) > 4]
    return hash(tuple(facts.items())) if not times or any(time % 10**9 for time in times) else None


async def _look(folder: str, but: str, most: int, sleep: Sleep) -> Facts:
    """Of each entry. Raises OSError where one cannot be looked at, or there are too many."""
    facts: Facts = {}
    paths = [folder]
    for number, path in enumerate(paths):
        if number % SLICE == SLICE - 1:
            await sleep(0)
        facts[path] = one = _facts(path)
        if one and stat.S_ISDIR(one[0]) and path != but:
            with os.scandir(path) as entries:
                paths += sorted(entry.path for entry in islice(entries, most))
            if len(paths) > most:
                raise OSError("too many")
    return facts


def _facts(path: str) -> tuple[int, ...]:
    """Nothing of what is not there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return ()
    if stat.S_ISDIR(found.st_mode):
        return found.st_mode, found.st_ino, found.st_uid, found.st_gid
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_mode, found.st_ino, found.st_uid, found.st_gid, found.st_size, *times
