"""A folder of the user's, reached through descriptors: no link is followed below its top, nothing else than regular
files is opened, and a path that changes under us leads nowhere else."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dockwright.workspace.objects import LINK, PROGRAM

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Tree:
    """An open folder. Paths are bytes below its top, without `.` and `..`; keep them sorted and it is fast."""

    def __init__(self, top: Path) -> None:
        self._chain: list[tuple[bytes, int]] = [(b"", os.open(top, _FOLDER))]

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *error: object) -> None:
        while self._chain:
            os.close(self._chain.pop()[1])

    def parent(self, path: bytes, *, make: bool = False) -> tuple[int, bytes]:
        """The descriptor of the folder that holds `path`, and the last name. Raises where a part is no folder."""
        *folders, name = path.split(b"/")
        kept = 0
        while kept < len(folders) and kept + 1 < len(self._chain) and self._chain[kept + 1][0] == folders[kept]:
            kept += 1
        while len(self._chain) > kept + 1:
            os.close(self._chain.pop()[1])
        for folder in folders[kept:]:
            above = self._chain[-1][1]
            if make:
                with suppress(FileExistsError):
                    os.mkdir(folder, dir_fd=above)
            self._chain.append((folder, os.open(folder, _FOLDER, dir_fd=above)))
        return self._chain[-1][1], name

    def stat(self, path: bytes) -> os.stat_result | None:
        """Of the path itself, links not followed; None where it is not there."""
        try:
            folder, name = self.parent(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except _NOT_THERE:
            return None

    def read(self, path: bytes, limit: int) -> bytes:
        """A regular file's bytes or a link's text. Raises OSError, also for other kinds and larger files."""
        folder, name = self.parent(path)
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=folder)
        with os.fdopen(os.open(name, _FILE, dir_fd=folder), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if facts.st_size > limit:
                raise OSError(errno.EFBIG, f"larger than {limit >> 20} MiB")
            return file.read(facts.st_size)

    def blocker(self, path: bytes) -> bytes | None:
        """What stands where a folder above `path` would have to be: a file or a link."""
        parts = path.split(b"/")
        for end in range(1, len(parts)):
            facts = self.stat(b"/".join(parts[:end]))
            if facts and not stat.S_ISDIR(facts.st_mode):
                return b"/".join(parts[:end])
        return None

    def remove(self, path: bytes) -> None:
        """Delete a file or link, and the folders above it that are empty then."""
        folder, name = self.parent(path)
        os.unlink(name, dir_fd=folder)
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            folder, name = self.parent(path)
            try:
                os.rmdir(name, dir_fd=folder)
            except OSError:
                return

    def write(self, path: bytes, mode: str, data: bytes) -> None:
        """Replace or create a file or link as a whole, making folders above it. A file keeps its permissions but for
        the executable bits, which are those of git's `mode`."""
        folder, name = self.parent(path, make=True)
        beside = b".dockwright-" + secrets.token_hex(8).encode()
        try:
            if mode == LINK:
                os.symlink(data, beside, dir_fd=folder)
            else:
                self._write_file(folder, beside, mode, data, self.stat(path))
            os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=folder)
            raise

    def _write_file(self, folder: int, name: bytes, mode: str, data: bytes, before: os.stat_result | None) -> None:
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(name, new, 0o777 if mode == PROGRAM else 0o666, dir_fd=folder), "wb") as file:
            file.write(data)
            file.flush()
            if before and stat.S_ISREG(before.st_mode):
                kept = before.st_mode & 0o666
                os.fchmod(file.fileno(), kept | (kept >> 2 & 0o111) if mode == PROGRAM else kept)
            os.fsync(file.fileno())

    def odd(self, folder: bytes) -> Iterator[bytes]:
        """The FIFOs, sockets and devices in a folder; the top is b""."""
        prefix = folder + b"/" if folder else b""
        with os.scandir(self.parent(prefix + b".")[0]) as entries:
            for entry in entries:
                if not (
                    entry.is_symlink() or entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
                ):
                    yield prefix + os.fsencode(entry.name)
