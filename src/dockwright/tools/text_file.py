"""A text file as bytes that can be searched and changed without touching what was not asked for.

UTF-16 is turned to UTF-8 and back; everything else, well-formed or not, is left as the bytes it is. So a byte outside
a change stays the byte it was, in any encoding and with any line ending.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass, replace

from dockwright.sandbox import Stat
from dockwright.tools.base import Refused, ToolContext
from dockwright.tools.ripgrep import listed

BOMS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))
LARGEST = 100 << 20  # bytes that are held in memory to be changed
BEGINNING = 1 << 16
CURRENT = "(file state is current in your context — no need to Read it back)"


@dataclass(frozen=True)
class TextFile:
    """`body` is UTF-8, or the file's own bytes where they are not; `bom` and `codec` say how it is stored."""

    body: bytes = b""
    bom: bytes = b""
    codec: str = "utf-8"

    @classmethod
    def parse(cls, data: bytes) -> TextFile:
        bom, codec = next(((bom, codec) for bom, codec in BOMS if data.startswith(bom)), (b"", "utf-8"))
        body = data[len(bom) :]
        if codec == "utf-8":
            return cls(body, bom)
        try:
            return cls(body.decode(codec, "surrogatepass").encode("utf-8", "surrogatepass"), bom, codec)
        except UnicodeDecodeError:  # half a character at the end
            return cls(data)

    def data(self) -> bytes:
        if self.codec == "utf-8":
            return self.bom + self.body
        return self.bom + self.body.decode("utf-8", "surrogatepass").encode(self.codec, "surrogatepass")

    def with_body(self, body: bytes) -> TextFile:
        return replace(self, body=body)

    @property
    def all_crlf(self) -> bool:
        return b"\r\n" in self.body and not re.search(rb"(?<!\r)\n", self.body)


async def beginning(ctx: ToolContext, path: str) -> bytes:
    """All of most files, for a call that asks for it while it asks what the file is. Empty where it cannot be read:
    whoever needs it then reads it again, and gets the error."""
    try:
        return await ctx.sandbox.read(path, limit=BEGINNING)
    except OSError:
        return b""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def missing_text(ctx: ToolContext, path: str) -> str:
    """What to say of a file that is not there, with a neighbour of the same stem where there is one."""
    folder, name = posixpath.split(path)
    stem = posixpath.splitext(name)[0]
    near = [found for found in await listed(ctx, folder) if posixpath.splitext(found)[0] == stem]
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"File does not exist. Note: your current working directory is {ctx.cwd}.{hint}"


async def stat_to_change(ctx: ToolContext, path: str) -> Stat | None:
    """What is at `path` before it is written; None for nothing. Only regular files may be changed."""
    try:
        found = await ctx.sandbox.stat(path)
    except FileNotFoundError:
        return None
    if found.kind == "link":
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found.target or ""))
        raise Refused(
            f"Refusing to write {path}: it is a symbolic link. Write to the link's target path instead: {target}."
        )
    if found.kind == "other":
        raise Refused(f"Refusing to write {path}: it is a device, a FIFO or a socket, not a file.")
    return found
