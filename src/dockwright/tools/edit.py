"""Edit and MultiEdit: exact text replaced by other text, on the file's own bytes.

A change is made in memory, each on the outcome of the one before it, and written once: all of it or nothing.
Line feeds in old_string match CRLF; a line that stays keeps its own ending, a new line takes that of its surroundings.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dockwright.tools.base import FilePath, Refused, Text, Tool, ToolContext, ToolResult
from dockwright.tools.diff import unified
from dockwright.tools.output import quoted, size_text
from dockwright.tools.text_file import CURRENT, LARGEST, TextFile, beginning, digest, missing_text, stat_to_change

MODIFIED = "(note: the file had been modified on disk since you last read it)"
MATCHES = 1_000_000
SHOWN = 80  # characters of each text that MultiEdit says back: the model knows them
FOLDS = (
    (b"\r\n", b"\n"),
    *((quote.encode(), b"'") for quote in "\u2018\u2019"),
    *((quote.encode(), b'"') for quote in "\u201c\u201d"),
)


Old = Annotated[Text, Field(description="The text to replace, exactly as the file has it, without line numbers")]
New = Annotated[Text, Field(description="The text to put in its place")]
All = Annotated[bool, Field(description="Replace every occurrence, not the only one")]


class Replacement(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    old_string: Old
    new_string: New
    replace_all: All = False


class Edit(Tool):
    """Replace text in a file. old_string must be exactly what the file holds, indentation included, and must occur
    once unless replace_all is true: give enough of the lines around it. An empty old_string makes a new file."""

    file_path: FilePath
    old_string: Old
    new_string: New
    replace_all: All = False

    async def run(self, ctx: ToolContext) -> ToolResult:
        path = ctx.resolve(self.file_path)
        edit = Replacement(**self.model_dump(exclude={"file_path"}))
        state, diff = await _change(ctx, path, "Edit", [edit])
        done = ". All occurrences were successfully replaced." if self.replace_all else " successfully."
        return ToolResult(f"The file {path} has been updated{done}{state}", details={"path": path, "diff": diff})


def _some(edits: tuple[Replacement, ...]) -> tuple[Replacement, ...]:
    if not edits:
        raise ValueError("At least one edit is required")
    return edits


class MultiEdit(Tool):
    """Make several replacements in one file, in order, each on the outcome of the one before. All of them are applied,
    or none. The rules for each are those of Edit."""

    file_path: FilePath
    edits: Annotated[tuple[Replacement, ...], AfterValidator(_some)] = Field(
        description="What to replace, in this order", json_schema_extra={"minItems": 1}
    )

    async def run(self, ctx: ToolContext) -> ToolResult:
        path = ctx.resolve(self.file_path)
        state, diff = await _change(ctx, path, "MultiEdit", self.edits)
        done = [
            f'{number}. Replaced "{quoted(edit.old_string, SHOWN)}" with "{quoted(edit.new_string, SHOWN)}"'
            for number, edit in enumerate(self.edits, 1)
        ]
        count = f"{len(done)} edit{'s' if len(done) > 1 else ''}"
        text = "\n".join((f"Applied {count} to {path}:", *done)) + state.replace(" ", "\n", 1)
        return ToolResult(text, details={"path": path, "diff": diff})


async def _change(ctx: ToolContext, path: str, tool: str, edits: Sequence[Replacement]) -> tuple[str, str]:
    """Carry the edits out. Gives what is to be said of the file's state in the model's mind, and the diff."""
    if any(edit.old_string == edit.new_string for edit in edits):
        raise Refused("No changes to make: old_string and new_string are exactly the same.")
    found, data = await asyncio.gather(stat_to_change(ctx, path), beginning(ctx, path))
    if not found and edits[0].old_string:
        raise Refused(await missing_text(ctx, path))
    if found and found.kind == "directory":
        raise Refused(f"Error calling tool ({tool}): EISDIR: illegal operation on a directory, read '{path}'")
    if found and path.endswith(".ipynb"):
        raise Refused("File is a Jupyter Notebook, which is not the text that Read shows. Change its JSON with Bash.")
    if found and len(data) != found.size:
        data = await ctx.sandbox.read(path, limit=LARGEST + 1)
    if len(data) > LARGEST:
        raise Refused(f"The file is too large for this tool, over {size_text(LARGEST)}. Use Bash (sed, perl) instead.")
    file = TextFile.parse(data)
    body = file.body
    for number, edit in enumerate(edits, 1):
        try:
            body = replaced(body, edit)
        except Refused as error:
            which = f"\n(Edit {number} of {len(edits)}. Nothing was changed.)" if len(edits) > 1 else ""
            raise Refused(f"{error}{which}") from error
    after = file.with_body(body).data()
    await ctx.sandbox.write(path, after)
    seen = ctx.seen.get(path)
    stale = seen is not None and seen != digest(data)
    if not stale:  # what somebody else wrote stays unseen, so that Write does not undo it
        ctx.seen[path] = digest(after)
    state = MODIFIED if stale else CURRENT if seen or not found else ""
    return state and f" {state}", unified(path, file.body, body)


def replaced(body: bytes, edit: Replacement) -> bytes:
    """`body` after one edit. Raises Refused with what the model needs to know to ask again."""
    if not edit.old_string:
        if body:
            raise Refused("Cannot create new file - file already exists.")
        return edit.new_string.encode()
    old = edit.old_string.replace("\r\n", "\n").encode()
    as_given = ("\r\n" in edit.old_string) != ("\r\n" in edit.new_string)  # then endings are what is being changed
    new = (edit.new_string if as_given else edit.new_string.replace("\r\n", "\n")).encode()
    spans = _spans(body, old)
    count = len(spans)
    said = f"\nString: {quoted(edit.old_string, 2000)}"
    if not count:
        raise Refused(f"String to replace not found in file.{said}")
    if count > 1 and not edit.replace_all:
        raise Refused(
            f"Found {count} matches of the string to replace, but replace_all is false. To replace all occurrences, "
            "set replace_all to true. To replace only one occurrence, please provide more context to uniquely identify "
            f"the instance.{said}"
        )
    if count > MATCHES or len(body) + count * len(new) > LARGEST:
        raise Refused(f"{count} replacements are too many for this tool. Use Bash (sed, perl) instead.")
    if not new.isascii() and not _is_utf8(body):
        raise Refused(
            "The file is not UTF-8, and new_string has characters that it would then hold in another encoding. "
            "Convert the file with Bash (iconv), or keep new_string to ASCII."
        )
    pieces, last = [], 0
    for start, end in spans:
        pieces += [body[last:start], new if as_given else _fitted(body, start, end, old, new)]
        last = end
    return b"".join([*pieces, body[last:]])


def _spans(body: bytes, old: bytes) -> list[tuple[int, int]]:
    """Where `old` is: with any line endings and, failing that, with any kind of quotes. Takes linear time."""
    for folds in (FOLDS[:1], FOLDS):
        text, wanted = _folded(body, folds), _folded(old, folds)
        starts: list[int] = []
        at = text.find(wanted)
        while at >= 0 and len(starts) <= MATCHES:
            starts.append(at)
            at = text.find(wanted, at + len(wanted))
        if starts:
            return _unfolded(body, folds, starts, len(wanted))
    return []


def _folded(text: bytes, folds: Sequence[tuple[bytes, bytes]]) -> bytes:
    for long, short in folds:
        text = text.replace(long, short)
    return text


def _unfolded(body: bytes, folds: Sequence[tuple[bytes, bytes]], starts: list[int], size: int) -> list[tuple[int, int]]:
    """From places in the folded text to those in `body`."""
    ends, removed = [], [0]  # where each folded piece ends in the folded text, and the bytes lost up to there
    for piece in re.finditer(b"|".join(long for long, _ in folds), body):
        removed.append(removed[-1] + len(piece[0]) - 1)
        ends.append(piece.end() - removed[-1])

    def place(at: int) -> int:
        return at + removed[bisect_right(ends, at)]

    return [(place(start), place(start + size)) for start in starts]


def _fitted(body: bytes, start: int, end: int, old_text: bytes, new_text: bytes) -> bytes:
    """The new lines with endings: a line that stays keeps its own, the others take that of the lines around them."""
    if b"\n" not in old_text + new_text:
        return new_text
    old, new = old_text.split(b"\n"), new_text.split(b"\n")
    parts = re.split(rb"(\r?\n)", body[start:end])
    texts, ends = parts[::2], [*parts[1::2], b""]
    shortest = min(len(old), len(new))
    lead = next((i for i in range(shortest - 1) if old[i] != new[i]), shortest - 1)
    tail = next((i for i in range(shortest - lead) if old[-1 - i] != new[-1 - i]), shortest - lead)
    shift = len(old) - len(new)
    near = ends[max(lead - 1, 0)] or _ending_near(body, start, end)
    kept_lead = [text + end for text, end in zip(texts[:lead], ends, strict=False)]
    kept_tail = [text + end for text, end in zip(texts[len(old) - tail :], ends[len(old) - tail :], strict=True)]
    middle = [
        line + (b"" if i == len(new) - 1 else near if shift else ends[i])
        for i, line in enumerate(new[lead : len(new) - tail], lead)
    ]
    return b"".join([*kept_lead, *middle, *kept_tail])


def _ending_near(body: bytes, start: int, end: int) -> bytes:
    at = body.find(b"\n", end)
    if at < 0:
        at = body.rfind(b"\n", 0, start)
    return b"\r\n" if at > 0 and body[at - 1 : at] == b"\r" else b"\n"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
