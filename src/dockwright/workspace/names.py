"""Which names may cross. The list is that of file systems and gits that read other names as `.git`."""

from __future__ import annotations

import re

_LONGEST_PATH = 4096
_LONGEST_NAME = 255
_HFS_IGNORES = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_NTFS_GIT = re.compile(r"(\.git|git~\d+)[. ]*(:.*)?")


def refusal(path: bytes) -> str | None:
    """Why a path of a tree may not cross between sandbox and host, or None where it may."""
    if len(path) > _LONGEST_PATH:
        return "longer than 4,096 bytes"
    if b"\0" in path:
        return "holds a NUL byte"
    for name in path.split(b"/"):
        if name in (b"", b".", b".."):
            return "leads elsewhere"
        if len(name) > _LONGEST_NAME:
            return "a name of more than 255 bytes"
        if any(_is_dot_git(part) for part in name.decode("utf-8", "surrogateescape").split("\\")):
            return "a name that some systems read as .git"
    return None


def leads_outside(path: bytes, target: bytes) -> bool:
    """Whether a link at `path` with text `target` points out of the tree, read as text alone."""
    if target.startswith(b"/"):
        return True
    depth = path.count(b"/")
    for name in target.split(b"/"):
        depth += {b"": 0, b".": 0, b"..": -1}.get(name, 1)
        if depth < 0:
            return True
    return False


def text(path: bytes) -> str:
    """A path as a string from which `os.fsencode` gives back the bytes."""
    return path.decode("utf-8", "surrogateescape")


def quoted(path: bytes) -> bytes:
    """A path as git's fast-import takes it."""
    escaped = path.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n")
    return b'"' + escaped + b'"'


def _is_dot_git(name: str) -> bool:
    plain = _HFS_IGNORES.sub("", name).casefold()
    return _NTFS_GIT.fullmatch(plain, 0) is not None
