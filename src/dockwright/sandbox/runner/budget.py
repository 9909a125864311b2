"""How much the agent's files take: bytes and inodes of the workspace, where no quota of the file system is to be had.

Free space of the whole disk is looked at often, which costs nothing; only if that has fallen by what the agent has
left, or after a while, are the files counted, by a child that nobody waits for. What the child cannot look into (no
permission, too deep) counts as what the disk lost since the start.
"""

from __future__ import annotations

import os
import signal
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockwright.sandbox.runner.loop import Loop, Task

DEEPEST, COUNT_SECONDS, COUNT_AGAIN, COUNT_SHARE = 1000, 60, 30.0, 20


class Usage:
    """On the disk: of a file that has holes, only what is not a hole counts."""

    def __init__(self, size: int = 0, inodes: int = 0) -> None:
        self.size, self.inodes = size, inodes

    def exceeds(self, other: Usage) -> bool:
        return self.size > other.size or self.inodes > other.inodes

    def widened(self, by: Usage, limit: Usage) -> Usage:
        """With a hundredth of `by` more, and at least `limit`."""
        return Usage(max(self.size + by.size // 100, limit.size), max(self.inodes + by.inodes // 100, limit.inodes))


class Budget:
    """What may be used in `folder`, the inodes of `others`, which have a size of their own, included."""

    def __init__(self, limit: Usage, folder: str, others: tuple[str, ...]) -> None:
        self.limit, self.folder, self.others = limit, folder, others

    def text(self, used: Usage) -> str:
        return (
            f"The files in {self.folder} take {used.size / (1 << 20):,.0f} MiB, and there are {used.inodes:,} files "
            f"and folders; {self.limit.size / (1 << 20):,.0f} MiB and {self.limit.inodes:,} are allowed. "
            "Delete what is not needed."
        )


class Watch:
    """Keeps count. `used` is at least what was counted last, with what the disk has lost since on top."""

    def __init__(self, loop: Loop, budget: Budget) -> None:
        self.loop, self.budget = loop, budget
        shared = {os.stat(path).st_dev for path in ("/", budget.folder)}
        self.others = [path for path in budget.others if os.stat(path).st_dev not in shared]
        self.first = self.free = _free(budget.folder)
        self.counted, self.counted_at, self.cost = Usage(), time.monotonic(), 0.0
        self.counting: Task | None = None
        self.child = 0

    @property
    def used(self) -> Usage:
        lost, elsewhere = _lost(self.free, _free(self.budget.folder)), map(os.statvfs, self.others)
        inodes = self.counted.inodes + lost.inodes + sum(found.f_files - found.f_ffree for found in elsewhere)
        return Usage(self.counted.size + lost.size, inodes)

    def is_near(self) -> bool:
        """Whether the budget may be used up. Never true all the time, because to make sure is to count."""
        return self.used.exceeds(self.budget.limit) and self._age() > self.cost * COUNT_SHARE

    def is_old(self) -> bool:
        """Somebody else on the same disk may have hidden what was used here."""
        return self._age() > max(COUNT_AGAIN, self.cost * COUNT_SHARE)

    def _age(self) -> float:
        return time.monotonic() - self.counted_at

    async def over(self) -> Usage | None:
        """What is used, counted now, where that is more than allowed."""
        if self.counting is None or self.counting.done():
            self.counting = self.loop.create_task(self.count())
        await self.counting
        used = self.used
        return used if used.exceeds(self.budget.limit) else None

    async def count(self) -> None:
        began, before = time.monotonic(), _free(self.budget.folder)
        said = await self._child()
        size, inodes, hidden = (int(word) for word in said.split()) if said else (0, 0, 1)
        lost = _lost(self.first, _free(self.budget.folder)) if hidden else Usage()
        self.counted = Usage(max(size, lost.size), max(inodes, lost.inodes))
        self.free, self.counted_at = before, time.monotonic()
        self.cost = self.counted_at - began

    async def _child(self) -> bytes:
        """What a fork of ours counted, b"" where it could not."""
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            self.child = os.fork()
        except OSError:  # no process is to be had
            os.close(read)
            os.close(write)
            return b""
        if self.child == 0:
            signal.set_wakeup_fd(-1)
            try:
                os.nice(10)
                os.write(write, b"%d %d %d" % _count(self.budget.folder))
            finally:
                os._exit(0)
        os.close(write)
        told = self.loop.create_future()
        self.loop.add_reader(read, told.wake)
        try:
            if await self.loop.wait(told, COUNT_SECONDS):
                return os.read(read, 100)
            os.kill(self.child, signal.SIGKILL)
            return b""
        finally:
            self.loop.remove_reader(read)
            os.close(read)
            self.child = 0


def _free(folder: str) -> Usage:
    found = os.statvfs(folder)
    return Usage(found.f_bfree * found.f_frsize, found.f_ffree)


def _lost(before: Usage, now: Usage) -> Usage:
    return Usage(max(before.size - now.size, 0), max(before.inodes - now.inodes, 0))


def _count(folder: str) -> tuple[int, int, int]:
    """Bytes, inodes, and whether there is more than could be seen. Follows no link; a hard link counts once."""
    size, inodes, hidden = 0, 0, 0
    seen: set[int] = set()
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    open_folders = [(root, os.scandir(root))]
    while open_folders:
        fd, entries = open_folders[-1]
        entry = next(entries, None)
        if entry is None:
            entries.close()
            os.close(fd)
            open_folders.pop()
            continue
        try:
            found = entry.stat(follow_symlinks=False)
            if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
                if found.st_ino in seen:
                    continue
                seen.add(found.st_ino)
            size += found.st_blocks * 512
            inodes += 1
            if stat.S_ISDIR(found.st_mode):
                if len(open_folders) == DEEPEST:
                    hidden = 1
                    continue
                inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                open_folders.append((inner, os.scandir(inner)))
        except FileNotFoundError:
            continue
        except OSError:
            hidden = 1
    return size, inodes, hidden
