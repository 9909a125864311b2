"""The append-only file of events, which is the truth about a session.

Append, then act: `append` returns when what must not be forgotten is on disk. Sinks (functions that take an event) are
told after that, in order. A crash may leave a torn end, which is ignored on reading and cut on opening. Who writes
holds a lock on the file, so that a run has one writer.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from dockwright.errors import ConfigError, DockwrightError, LimitReached
from dockwright.events import (
    Answered,
    Compacted,
    Delivered,
    Event,
    RunFinished,
    ToolFinished,
    ToolStarted,
    from_line,
    to_line,
)
from dockwright.redaction import LiveRedaction, Redaction

Sink = Callable[[Event], None]
# An answer was paid, a call may have acted, a result will be told: each is on disk before the next step. What stands
# before one of them in the file is on disk with it.
_SYNCED = (Answered, Compacted, ToolStarted, ToolFinished, Delivered, RunFinished)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RESERVE = 1 << 20


class JournalError(DockwrightError):
    """The journal cannot be read or written; nothing more is done, because it could not be remembered."""


class DiskFull(LimitReached):
    """There was no room left to remember the next step, so it was not taken."""


class Journal:
    """One writer. The file is created with mode 0600; its folder must exist. Raises ConfigError where another process
    writes it. Neither file nor sinks are told secrets that `redaction` knows.

    A reserve beside it is given up when the disk is full, so that the end of the run can still be written down."""

    def __init__(self, path: Path, sinks: tuple[Sink, ...] = (), redaction: Redaction | None = None) -> None:
        self.path = path
        self.sinks = sinks
        self.redaction = redaction or Redaction()
        self._redacted = LiveRedaction(self.redaction)
        self._reserve = path.with_name(".reserve")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._syncing = asyncio.Lock()
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._written = self._synced = _cut_torn_end(self._fd)
            sync_folder(path.parent)
            _fill(self._reserve)
        except BlockingIOError:
            os.close(self._fd)
            raise ConfigError(
                f"Another process is at work on the run in {path.parent}. Wait until it has ended, or stop it."
            ) from None
        except OSError as error:
            os.close(self._fd)
            raise self._failure(error) from error

    async def append(self, event: Event) -> None:
        """Write the event, sync it to disk if something will be done that depends on it, then tell the sinks."""
        for said in self._redacted(event):
            self._write(said)
            if isinstance(said, _SYNCED):
                try:
                    await self._sync()
                except OSError as error:
                    raise self._failure(error) from error
            self._tell(said)

    def show(self, event: Event) -> None:
        """For events that nobody waits for: live ones, which only the sinks see, and those that need no sync."""
        for said in self._redacted(event):
            self._write(said)
            self._tell(said)

    def tell(self, event: Event) -> None:
        """Let the sinks know of something that is not written."""
        for said in self._redacted(event):
            self._tell(said)

    def _tell(self, event: Event) -> None:
        for sink in self.sinks:
            sink(event)

    def _write(self, event: Event) -> None:
        if not event.durable:
            return
        line = to_line(event)
        try:
            _write_all(self._fd, line)
        except OSError as error:
            with suppress(OSError):
                os.truncate(self._fd, self._written)
            if error.errno in FULL:
                self._reserve.unlink(missing_ok=True)
            raise self._failure(error) from error
        self._written += len(line)

    async def _sync(self) -> None:
        """One sync for all who wait: it covers whatever was written before it began."""
        wanted = self._written
        async with self._syncing:
            if self._synced < wanted:
                await asyncio.sleep(0)  # what is written in this moment, as the calls of an answer are, is covered, too
                covered = self._written
                await asyncio.to_thread(os.fdatasync, self._fd)
                self._synced = covered

    def _failure(self, error: OSError) -> DockwrightError:
        if error.errno in FULL:
            return DiskFull(
                f"The disk is full: the next step could not be written to {self.path} ({error.strerror}), so it "
                "was not taken. What was written is kept. "
                f"Free space there, then: dockwright resume {self.path.parent}"
            )
        return JournalError(
            f"Writing the journal {self.path} failed: {error.strerror}. What was written is kept. "
            f"Mend that, then: dockwright resume {self.path.parent}"
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self._reserve.unlink(missing_ok=True)
        os.close(self._fd)


class Tail:
    """A journal that somebody else may be writing: `new` yields each of its events once.

    `files` counts the files that were found at the path, as the next attempt at a task begins a new one there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = self._at = self._number = self.files = 0

    def new(self) -> Iterator[Event]:
        """Raises FileNotFoundError, and JournalError naming the line that is no event."""
        found = self._path.stat()
        if found.st_ino != self._inode or found.st_size < self._at:
            self._inode, self._at, self._number = found.st_ino, 0, 0
            self.files += 1
        if found.st_size == self._at:
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            for line in file:
                if not _whole(line):
                    return
                try:
                    event = from_line(line)
                except ValueError as error:
                    raise JournalError(
                        f"{self._path} line {self._number + 1} is not an event of this version of dockwright: {error}"
                    ) from error
                self._at += len(line)
                self._number += 1
                yield event


def read(path: Path) -> Iterator[Event]:
    """The events of a journal file, oldest first. Raises JournalError naming the line that is no event."""
    return Tail(path).new()


def is_written(path: Path) -> bool:
    """Whether a process is at work on this journal. It is not asked for its lock: who wants to write would be refused
    meanwhile. Where the system does not say who holds locks, it is taken to be."""
    try:
        inode = f":{path.stat().st_ino} "
        with open("/proc/locks") as file:
            return any(inode in line for line in file if " FLOCK " in line)
    except (FileNotFoundError, NotADirectoryError):
        return not Path("/proc/locks").exists() and path.exists()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _whole(data: bytes) -> int:
    """Where the whole lines end. What follows the last newline is a torn write; after a power loss, blocks that never
    reached the disk read as zeros, which no event contains."""
    zeros = data.find(b"\0")
    return data.rfind(b"\n", 0, zeros if zeros >= 0 else len(data)) + 1


def _cut_torn_end(fd: int) -> int:
    """Leave whole lines alone in the file; their size."""
    size = os.fstat(fd).st_size
    data = b"".join(iter(lambda: os.read(fd, 1 << 20), b""))
    whole = _whole(data)
    if whole < size:
        os.truncate(fd, whole)
    return whole


def _fill(reserve: Path) -> None:
    """Take room on the disk that can be given back."""
    fd = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with suppress(OSError):  # a disk that has no room to spare is told where it matters
            os.posix_fallocate(fd, 0, _RESERVE)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """So that a name in it that is new, or another file's now, outlives a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
