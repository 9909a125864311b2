"""Git's objects as values: entries of trees, ids of contents, blobs read in bounded portions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple, Protocol

_PORTION = 64 << 20
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)
_LONGEST_LINK = 4096
POINTER_SIZE = 1024

FILE, PROGRAM, LINK, SUBMODULE = "100644", "100755", "120000", "160000"


class Entry(NamedTuple):
    """What a tree holds at a path: git's mode and the object's id."""

    mode: str
    oid: str


class Change(NamedTuple):
    """One path that differs between two trees; None where a side does not have it."""

    path: bytes
    old: Entry | None
    new: Entry | None


class Git(Protocol):
    async def git(self, *arguments: str, stdin: bytes = b"") -> bytes: ...


def blob_id(data: bytes, object_format: str) -> str:
    return hashlib.new(object_format, b"blob %d\0" % len(data) + data).hexdigest()


def is_content_of(data: bytes, pointer: bytes) -> bool:
    """Whether `pointer` is the Git LFS pointer that stands for these bytes in the repository."""
    found = _POINTER.fullmatch(pointer)
    return found is not None and hashlib.sha256(data).hexdigest().encode() == found[1]


def with_line_feeds(data: bytes) -> bytes:
    """What git stores for a text file that is checked out with CRLF line ends; binary data stays."""
    return data if b"\0" in data else data.replace(b"\r\n", b"\n")


async def tree_of(repository: Git, treeish: str) -> dict[bytes, Entry]:
    """All files of a tree, by path."""
    listing = await repository.git("ls-tree", "-r", "-z", "--full-tree", treeish)
    tree = {}
    for line in listing.split(b"\0")[:-1]:
        facts, _, path = line.partition(b"\t")
        mode, _kind, oid = facts.decode().split(" ")
        tree[path] = Entry(mode, oid)
    return tree


async def sizes(repository: Git, oids: Iterable[str]) -> dict[str, int]:
    asked = "".join(f"{oid}\n" for oid in oids).encode()
    if not asked:
        return {}
    answer = await repository.git("cat-file", "--batch-check=%(objectname) %(objectsize)", stdin=asked)
    pairs = (line.split(" ") for line in answer.decode().splitlines())
    return {oid: int(size) for oid, size in pairs if size != "missing"}


async def blobs(repository: Git, sized: dict[str, int]) -> AsyncIterator[tuple[str, bytes]]:
    """The contents of objects whose sizes are known, read in portions so that memory stays bounded."""
    portion: list[str] = []
    total = 0
    for oid, size in sized.items():
        if portion and total + size > _PORTION:
            for pair in await _batch(repository, portion):
                yield pair
            portion, total = [], 0
        portion.append(oid)
        total += size
    for pair in await _batch(repository, portion):
        yield pair


async def link_targets(repository: Git, oids: Iterable[str]) -> dict[str, bytes]:
    """The texts of links; of one that no system takes only that it leads elsewhere, "/"."""
    known = await sizes(repository, oids)
    short = {oid: size for oid, size in known.items() if size <= _LONGEST_LINK}
    return dict.fromkeys(known, b"/") | {oid: target async for oid, target in blobs(repository, short)}


async def _batch(repository: Git, oids: list[str]) -> list[tuple[str, bytes]]:
    if not oids:
        return []
    answer = await repository.git("cat-file", "--batch", stdin="".join(f"{oid}\n" for oid in oids).encode())
    found = []
    at = 0
    while at < len(answer):
        line_end = answer.index(b"\n", at)
        oid, _kind, size = answer[at:line_end].decode().split(" ")
        found.append((oid, answer[line_end + 1 : line_end + 1 + int(size)]))
        at = line_end + 1 + int(size) + 1
    return found
