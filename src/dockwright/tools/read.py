"""Read: a file as numbered lines, or as the picture, document or notebook it is.

A file of up to 2 MB crosses the stream whole; of a larger one only what comes before the page, and the page.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from base64 import b64encode
from dataclasses import dataclass
from typing import ClassVar

from pydantic import Field

from dockwright.errors import ToolError
from dockwright.events import JsonObject
from dockwright.tools import image, notebook
from dockwright.tools.base import FilePath, Tool, ToolContext, ToolResult
from dockwright.tools.output import (
    BYTES_PER_TOKEN,
    LARGE_READ_TOKENS,
    READ_TOKENS,
    decoded,
    lines_that_fit,
    size_text,
    tokens,
)
from dockwright.tools.text_file import TextFile, beginning, digest, missing_text

SLICE = 1 << 20
WHOLE = 256 << 10  # the largest file that is read without offset, limit or allow_large
SCANNED = 2 << 20  # up to this size all lines are counted and the whole file is remembered as seen
IMAGE_BASE64, IMAGE_SIDE, DOCUMENT = 5 << 20, 8000, 10 << 20  # what the Messages API takes; PDF: our own bound
BINARY = re.compile(
    r"\.(7z|a|avi|bin|bmp|bz2|class|dat|db|dll|dmg|docx?|dylib|exe|gz|ico|iso|jar|mkv|mov|mp[34]|o|od[pst]|og[gv]|otf"
    r"|parquet|pkl|pptx?|py[co]|rar|so|sqlite3?|tar|tgz|tiff?|ttf|war|wasm|wav|webm|woff2?|xlsx?|xz|zip|zst)"
)


class Read(Tool):
    """Read a file in the workspace. Text comes back as numbered lines (number, tab, line); the numbers are not part
    of the file. PNG, JPEG, GIF and WebP images, PDF files and Jupyter notebooks are shown as what they are.
    For a long file a page is returned with how to ask for the next one: give offset and limit to read a part."""

    read_only: ClassVar[bool] = True

    file_path: FilePath
    offset: int | None = Field(None, ge=0, description="First line to read, counted from 1")
    limit: int | None = Field(None, json_schema_extra={"exclusiveMinimum": 0}, description="How many lines to read")
    allow_large: bool = Field(False, description="Read a file over 256 KB from its start")

    async def run(self, ctx: ToolContext) -> ToolResult:
        path = ctx.resolve(self.file_path)
        size, head = await asyncio.gather(self._size(ctx, path), beginning(ctx, path))
        extension = posixpath.splitext(path)[1].lower()
        if extension in image.EXTENSIONS and len(head) < size:
            head = await ctx.sandbox.read(path, limit=image.HEADER_BYTES)
        if extension in image.EXTENSIONS or image.parse(head):
            return await _image(ctx, path, size, head)
        if extension == ".pdf":
            return await _document(ctx, path, size)
        if BINARY.fullmatch(extension):
            raise ToolError(
                f"This tool cannot read binary files. The file appears to be a binary {extension} file. "
                "Look into it with Bash (file, od, unzip -l, sqlite3 ...)."
            )
        if extension == ".ipynb" and size <= SCANNED:
            data = await ctx.sandbox.read(path, limit=SCANNED)
            if (text := notebook.cells_text(data)) is not None:
                ctx.seen[path] = digest(data)
                shown = "\n".join(lines_that_fit(text.split("\n"), READ_TOKENS))
                cut = "" if shown == text else f"\n\n[Truncated: {size_text(size)} in all; use Bash to see the rest.]"
                return ToolResult(shown + cut, details={"path": path})
        if size > WHOLE and self.offset is None and self.limit is None and not self.allow_large:
            raise ToolError(
                f"File content ({size_text(size)}) exceeds maximum allowed size (256KB). Use offset and limit "
                "parameters to read a part of it, allow_large to read it from its start, or Grep to search it."
            )
        return await self._text(ctx, path, size, head)

    async def _size(self, ctx: ToolContext, path: str) -> int:
        try:
            found = await ctx.sandbox.stat(path, follow=True)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ToolError(await missing_text(ctx, path)) from error
        if found.kind == "directory":
            raise ToolError(f"EISDIR: illegal operation on a directory, read '{path}'")
        if found.kind != "file" or path.startswith(("/dev/", "/proc/")):
            raise ToolError(
                f"Cannot read '{path}': this path names a device or process file that this tool does not read."
            )
        return found.size

    async def _text(self, ctx: ToolContext, path: str, size: int, head: bytes) -> ToolResult:
        first, cap = self.offset or 1, LARGE_READ_TOKENS if self.allow_large else READ_TOKENS
        page = await (_small(ctx, path, first, size, head) if size <= SCANNED else _large(ctx, path, first, size, cap))
        if not page.lines:
            return ToolResult(_warning(page.total or 0, first), details={"path": path, "lines": 0})
        limit = self.limit if self.limit and self.limit > 0 else None
        numbered = [f"{number}\t{line}" for number, line in enumerate(page.lines[:limit], first)]
        shown = lines_that_fit(numbered, cap)
        notes = list(page.notes)
        if len(shown) < len(numbered) or (page.total is None and len(shown) != limit):
            last = first + len(shown) - 1
            known = f"{page.total} total (about {tokens(chr(10).join(numbered))} tokens, cap {cap})"
            notes.append(
                f"[Truncated: PARTIAL view — {path}: showing lines {first}-{last} of "
                f"{known if page.total else f'a file of {size_text(size)} (cap {cap} tokens)'}. "
                f"Call Read with offset={last + 1} limit={len(shown)} for the next page.]"
            )
        text = "\n".join(shown) + "".join(f"\n\n{note}" for note in notes)
        return ToolResult(text, details={"path": path, "lines": len(shown), "total": page.total})


@dataclass(frozen=True)
class _Page:
    """The lines from the first one asked for on; `total` counts those of the whole file, where it is known."""

    lines: list[str]
    total: int | None
    notes: tuple[str, ...] = ()


async def _small(ctx: ToolContext, path: str, first: int, size: int, head: bytes) -> _Page:
    data = head if len(head) == size else await ctx.sandbox.read(path, limit=SCANNED)
    ctx.seen[path] = digest(data)
    if not data:
        return _Page([], 0)
    lines, notes = _lines(TextFile.parse(data).body)
    return _Page(lines[first - 1 :], len(lines), notes)


async def _large(ctx: ToolContext, path: str, first: int, size: int, cap: int) -> _Page:
    ctx.seen.pop(path, None)
    start = line = 0  # where the first line begins, and how many end before it
    while line < first - 1:
        data = await ctx.sandbox.read(path, offset=start, limit=SLICE)
        if not data or start >= size:
            return _Page([], line + 1)
        found, at = data.count(b"\n"), len(data)
        if line + found >= first - 1:
            at = 0
            found = first - 1 - line
            for _ in range(found):
                at = data.index(b"\n", at) + 1
        line, start = line + found, start + at
    data = await ctx.sandbox.read(path, offset=start, limit=cap * BYTES_PER_TOKEN)
    if start + len(data) >= size:
        lines, notes = _lines(data)
        return _Page(lines, line + len(lines), notes)
    lines, notes = _lines(data[: data.rfind(b"\n") + 1 or None])
    return _Page(lines[:-1] or lines, None, notes)


def _lines(body: bytes) -> tuple[list[str], tuple[str, ...]]:
    """Lines without their endings, and what to say of bytes that are not text. Lone CRs stay where they are."""
    notes = []
    try:
        body.decode()
    except UnicodeDecodeError as error:
        if b"\0" in body:
            raise ToolError(
                "This tool cannot read binary files. The file has NUL bytes and is no valid UTF-8. "
                "Look into it with Bash (file, od ...)."
            ) from error
        notes.append("[Note: bytes that are not UTF-8 are shown as U+FFFD. Edit can change the parts that are text.]")
    if b"\0" in body:
        notes.append("[Note: the file has NUL bytes.]")
    *ended, last = decoded(body).split("\n")
    return [*(line.removesuffix("\r") for line in ended), last], tuple(notes)


def _warning(total: int, first: int) -> str:
    what = (
        f"is shorter than the provided offset ({first}). The file has {total} lines."
        if total
        else "the contents are empty."
    )
    return f"<system-reminder>Warning: the file exists but {what}</system-reminder>"


async def _image(ctx: ToolContext, path: str, size: int, head: bytes) -> ToolResult:
    found = image.parse(head)
    if not found:
        raise ToolError(
            f"{path} is not a PNG, JPEG, GIF or WebP image: it begins with the bytes {head[:8].hex(' ') or '(none)'}."
        )
    if size * 4 > IMAGE_BASE64 * 3 or max(found.width, found.height) > IMAGE_SIDE:
        raise ToolError(
            f"The image is too large to be shown: {found.width}x{found.height} pixels, {size_text(size)}; at most "
            f"{IMAGE_SIDE}x{IMAGE_SIDE} and {size_text(IMAGE_BASE64 * 3 // 4)}. Make a smaller copy with Bash."
        )
    data = await ctx.sandbox.read(path, limit=IMAGE_BASE64)
    text = f"[{found.media_type} {found.width}x{found.height}, {size_text(size)}]"
    return ToolResult(text, details={"path": path}, blocks=(_block("image", found.media_type, data),))


async def _document(ctx: ToolContext, path: str, size: int) -> ToolResult:
    if size > DOCUMENT:
        raise ToolError(
            f"The PDF is too large to be shown: {size_text(size)}, at most {size_text(DOCUMENT)}. "
            "Take out pages or text with Bash (qpdf, pdftotext) and read those."
        )
    data = await ctx.sandbox.read(path, limit=DOCUMENT)
    if not data.startswith(b"%PDF-"):
        raise ToolError(f"File is not a valid PDF (missing %PDF- header): {path}")
    text = f"PDF file read: {path} ({size_text(len(data))})"
    words: JsonObject = {"type": "text", "text": text}
    return ToolResult(text, details={"path": path}, blocks=(words, _block("document", "application/pdf", data)))


def _block(kind: str, media_type: str, data: bytes) -> JsonObject:
    return {
        "type": kind,
        "source": {"type": "base64", "media_type": media_type, "data": b64encode(data).decode("ascii")},
    }
