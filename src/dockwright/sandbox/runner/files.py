"""Files, as the agent's user sees them: read in slices, written whole or not at all, never waited for."""

from __future__ import annotations

import errno
import os
import stat
import sys

from dockwright.sandbox.runner.wire import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

NOT_REGULAR = "not a regular file: a device, a FIFO or a socket"


async def read_file(args: dict[str, Any], send: Callable[[bytes], Awaitable[None]]) -> dict[str, Any]:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with open(os.open(args["path"], flags), "rb", buffering=0) as file:
        found = os.fstat(file.fileno())
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        file.seek(args["offset"])
        left = args["limit"] if args["limit"] is not None else sys.maxsize
        while left > 0 and (data := file.read(min(CHUNK, left))):
            left -= len(data)
            await send(data)
    return {"size": found.st_size}


async def write_file(args: dict[str, Any], receive: Callable[[], Awaitable[bytes]], number: int) -> dict[str, Any]:
    """`number` makes the name of the temporary file one that no other call uses."""
    path, mode = args["path"], args["mode"]
    try:
        old = os.lstat(path)
        if stat.S_ISLNK(old.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if stat.S_ISDIR(old.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, NOT_REGULAR)
        os.close(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))  # may it be written?
        mode = stat.S_IMODE(old.st_mode) if mode is None else mode
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
    temporary = f"{os.path.dirname(path)}/.dockwright-{os.getpid()}-{number}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb", buffering=0) as file:
            while data := await receive():
                while data:
                    data = data[file.write(data) :]
            os.fchmod(fd, 0o644 if mode is None else mode)
            os.fsync(fd)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return {}


def look(args: dict[str, Any]) -> dict[str, Any]:
    found = os.stat(args["path"], follow_symlinks=args["follow"])
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}
    kind = kinds.get(stat.S_IFMT(found.st_mode), "other")
    return {
        "kind": kind, "size": found.st_size, "mode": stat.S_IMODE(found.st_mode), "mtime_ns": found.st_mtime_ns,
        "target": os.readlink(args["path"]) if kind == "link" else None,
    }  # fmt: skip
