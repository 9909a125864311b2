"""The append-only file of events, which is the truth about a session.

Append, then act: `append` returns when the line is on disk. Sinks (functions that take an event) are told after
that, in order. A torn last line, left by a crash in the middle of a write, is ignored on reading and cut on opening.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from dockwright.errors import DockwrightError
from dockwright.events import Answered, AnswerStarted, Event, RunFinished, ToolFinished, from_line, to_line
from dockwright.redaction import LiveRedaction, Redaction

Sink = Callable[[Event], None]
_SYNCED = (AnswerStarted, Answered, ToolFinished, RunFinished)


class JournalError(DockwrightError):
    """The journal cannot be read or written; nothing more is done, because it could not be remembered."""


class Journal:
    """One writer. The file is created with mode 0600; its folder must exist. Neither file nor sinks are told secrets
    that `redaction` knows."""

    def __init__(self, path: Path, sinks: tuple[Sink, ...] = (), redaction: Redaction | None = None) -> None:
        self.path = path
        self.sinks = sinks
        self.redaction = redaction or Redaction()
        self._redacted = LiveRedaction(self.redaction)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _cut_torn_tail(path)
        _sync_folder(path.parent)

    async def append(self, event: Event) -> None:
        """Write the event, sync it to disk if it is a model answer or a tool result, then tell the sinks."""
        for said in self._redacted(event):
            self._write(said)
            if isinstance(said, _SYNCED):
                try:
                    await asyncio.to_thread(os.fsync, self._fd)
                except OSError as error:
                    raise self._failure(error) from error
            self._tell(said)

    def show(self, event: Event) -> None:
        """For events that nobody waits for: live ones, which only the sinks see, and notes from callbacks."""
        for said in self._redacted(event):
            self._write(said)
            self._tell(said)

    def _write(self, event: Event) -> None:
        if not event.durable:
            return
        try:
            _write_all(self._fd, to_line(event))
        except OSError as error:
            raise self._failure(error) from error

    def _tell(self, event: Event) -> None:
        for sink in self.sinks:
            sink(event)

    def _failure(self, error: OSError) -> JournalError:
        return JournalError(
            f"Writing the journal {self.path} failed: {error.strerror}. Free space there; what was written is kept."
        )

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)


def read(path: Path) -> Iterator[Event]:
    """The events of a journal file, oldest first. Raises JournalError naming the line that is no event."""
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is a torn write
        try:
            yield from_line(line)
        except ValueError as error:
            raise JournalError(
                f"{path} line {number} is not an event of this version of dockwright: {error}"
            ) from error


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _cut_torn_tail(path: Path) -> None:
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
