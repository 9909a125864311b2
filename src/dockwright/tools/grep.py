"""Grep: file contents searched by ripgrep inside the sandbox, shown a page at a time and always in the same order."""

from __future__ import annotations

import posixpath
import re
from typing import ClassVar, Literal, TypeVar

from pydantic import Field, JsonValue

from dockwright.errors import ToolError
from dockwright.sandbox import OUTPUT
from dockwright.tools.base import Argument, Tool, ToolContext, ToolResult
from dockwright.tools.output import SEARCH_LIMIT, decoded, persisted, size_text
from dockwright.tools.ripgrep import nothing, paths_by_time, ripgrep
from dockwright.tools.text_file import digest

COLUMNS = 500
Row = TypeVar("Row")


class Grep(Tool):
    """Search file contents for a regular expression (ripgrep's syntax: escape literal braces).

    Hidden files are searched; what .gitignore names in a git repository and .git itself are not."""

    read_only: ClassVar[bool] = True

    pattern: Argument = Field(description="The regular expression")
    path: Argument | None = Field(None, description="File or directory to search: the current directory by default")
    glob: Argument | None = Field(None, description='Which files, e.g. "*.py" or "*.{ts,tsx}"')
    output_mode: Literal["content", "files_with_matches", "count"] = Field(
        "files_with_matches", description="Matching lines, names of files (newest first), or matching lines per file"
    )
    after: int | None = Field(None, ge=0, alias="-A", description="Lines after each match (content)")
    before: int | None = Field(None, ge=0, alias="-B", description="Lines before each match (content)")
    around: int | None = Field(None, ge=0, alias="-C", description="Lines before and after each match (content)")
    context: int | None = Field(None, ge=0, description="The same as -C")
    line_numbers: bool = Field(True, alias="-n", description="Show line numbers (content)")
    ignore_case: bool = Field(False, alias="-i", description="Ignore case")
    only_matching: bool = Field(False, alias="-o", description="Show only the matching part of a line (content)")
    type: Argument | None = Field(None, description='Kind of file, e.g. "py", "js", "go"')
    head_limit: int = Field(250, ge=0, description="How many lines, files or counts to show; 0 for all")
    offset: int = Field(0, ge=0, description="How many of them to skip first")
    multiline: bool = Field(False, description="Let the pattern run over line ends, and . match them")

    async def run(self, ctx: ToolContext) -> ToolResult:
        target = ctx.resolve(self.path or ".")
        try:
            kind = (await ctx.sandbox.stat(target, follow=True)).kind
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ToolError(
                f"Path does not exist: {self.path}. Note: your current working directory is {ctx.cwd}."
            ) from error
        args = [*self._options(), "--", _shown_path(ctx, target)]
        if self.output_mode == "files_with_matches":
            return await self._files(ctx, args)
        if self.output_mode == "count":
            return await self._counts(ctx, args)
        return await self._content(ctx, args, one_file=kind != "directory")

    def _options(self) -> list[str]:
        options = {
            "--ignore-case": self.ignore_case,
            "--multiline": self.multiline,
            "--multiline-dotall": self.multiline,
            "--glob=!.git": True,
        }
        globs = [f"--glob={glob}" for glob in _globs(self.glob or "")]
        kind = [f"--type={self.type}"] if self.type else []
        return [*globs, *(name for name, wanted in options.items() if wanted), *kind, f"--regexp={self.pattern}"]

    async def _files(self, ctx: ToolContext, args: list[str]) -> ToolResult:
        args = ["--files-with-matches", *args]
        total, page = await paths_by_time(
            ctx, args, cwd=ctx.cwd, newest_first=True, skip=self.offset, count=self.head_limit
        )
        details: dict[str, JsonValue] = {"count": total}
        if not page:
            return ToolResult(nothing(ctx, "No files found", placed=bool(self.path)), details=details)
        found = f"Found {len(page)} file{'s' if len(page) > 1 else ''}{_with(' ', self._page(total))}"
        return await _whole(ctx, "\n".join((found, *page)), details)

    async def _counts(self, ctx: ToolContext, args: list[str]) -> ToolResult:
        result = await ripgrep(ctx, ["--count", "--with-filename", "--null", *args], cwd=ctx.cwd)
        rows = sorted(_numbered(line) for line in decoded(result.stdout).splitlines() if "\0" in line)
        page = self._slice(rows)
        details: dict[str, JsonValue] = {"count": sum(count for _, count in rows)}
        if not page:
            return ToolResult(nothing(ctx, "No matches found", placed=bool(self.path)), details=details)
        matches = sum(count for _, count in page)
        summary = (
            f"Found {matches} total occurrence{'s' if matches > 1 else ''} across {len(page)} "
            f"file{'s' if len(page) > 1 else ''}.{_with(' with pagination = ', self._page(len(rows)))}"
        )
        return await _whole(ctx, "\n".join((*(f"{path}:{count}" for path, count in page), "", summary)), details)

    async def _content(self, ctx: ToolContext, args: list[str], *, one_file: bool) -> ToolResult:
        around = self.context if self.context is not None else self.around
        context = {"-C": around} if around is not None else {"-A": self.after, "-B": self.before}
        args = [
            "--no-filename" if one_file else "--with-filename",
            "--null",
            f"--max-columns={COLUMNS}",
            "--line-number" if self.line_numbers else "--no-line-number",
            *(f"{flag}{lines}" for flag, lines in context.items() if lines is not None),
            *(("--only-matching",) if self.only_matching else ()),
            *args,
        ]
        result = await ripgrep(ctx, args, cwd=ctx.cwd)
        output = result.stdout
        if result.hidden:  # its head is wanted, so this time in order, by one thread
            result = await ripgrep(ctx, ["--sort=path", *args], cwd=ctx.cwd)
            output = result.stdout[: len(result.stdout) // 2]
        lines = decoded(output).split("\n")[:-1]
        lines = lines if one_file else _in_order(lines)
        if result.hidden and not (self.head_limit and self.offset + self.head_limit <= len(lines)):
            raise ToolError(
                f"Too many lines match ({size_text(result.size)}). Narrow the pattern, the path or the glob, "
                "give a smaller head_limit and offset, or ask for a count."
            )
        page = self._slice(lines)
        details: dict[str, JsonValue] = {"count": len(lines)}
        if not page:
            return ToolResult(nothing(ctx, "No matches found", placed=bool(self.path)), details=details)
        pages = _with("\n\n[Showing results with pagination = ", self._page(len(lines)), "]")
        return await _whole(ctx, "\n".join(page) + pages, details)

    def _slice(self, rows: list[Row]) -> list[Row]:
        return rows[self.offset : self.offset + self.head_limit if self.head_limit else None]

    def _page(self, total: int) -> str:
        """What of `total` is shown, in words; empty where it is all."""
        limited = self.head_limit and total > self.offset + self.head_limit
        words = (f"limit: {self.head_limit}" if limited else "", f"offset: {self.offset}" if self.offset else "")
        return ", ".join(filter(None, words))


def _with(before: str, words: str, after: str = "") -> str:
    return f"{before}{words}{after}" if words else ""


def _shown_path(ctx: ToolContext, target: str) -> str:
    """As rg is to name what it finds: from the current directory, or in full for what is not below it."""
    relative = posixpath.relpath(target, ctx.cwd)
    return target if relative.startswith("..") else "./" if relative == "." else relative


def _globs(text: str) -> list[str]:
    """Several patterns are separated by commas or spaces; a comma in braces belongs to its pattern."""
    return [glob for glob in re.findall(r"(?:\{[^{}]*\}|[^\s,])+", text) if glob]


def _numbered(line: str) -> tuple[str, int]:
    path, _, count = line.partition("\0")
    return path.removeprefix("./"), int(count[:9]) if count.isdecimal() else 0


def _in_order(lines: list[str]) -> list[str]:
    """Sorted by path. rg prints the lines of one file together, and "--" between groups of them."""
    files: dict[str, list[str]] = {}
    gap = False
    for line in lines:
        if line == "--":
            gap = True
            continue
        path, nul, text = line.removeprefix("./").partition("\0")
        if nul:
            line = path + ("-" if re.match(r"\d+-", text) else ":") + text
        known = files.setdefault(path, [])
        if gap and known:
            known.append("--")
        known.append(line.removeprefix("./"))
        gap = False
    ordered = [files[path] for path in sorted(files, key=lambda path: path.split("/"))]
    if "--" not in lines:
        return [line for group in ordered for line in group]
    return [line for group in ordered for line in ("--", *group)][1:]


async def _whole(ctx: ToolContext, text: str, details: dict[str, JsonValue]) -> ToolResult:
    if len(text) <= SEARCH_LIMIT:
        return ToolResult(text, details=details)
    data = text.encode("utf-8", "replace")
    file = f"{OUTPUT}/grep-{digest(data)[:12]}.txt"
    await ctx.sandbox.write(file, data)
    return ToolResult(persisted(text, len(data), file, len(data)), details={**details, "output_file": file})
