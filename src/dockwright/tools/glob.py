"""Glob: files by name, listed by ripgrep inside the sandbox, oldest first."""

from __future__ import annotations

import posixpath
import re
from typing import ClassVar

from pydantic import Field

from dockwright.errors import ToolError
from dockwright.tools.base import Argument, Tool, ToolContext, ToolResult
from dockwright.tools.ripgrep import nothing, paths_by_time

SHOWN = 100


class Glob(Tool):
    """Find files by a pattern such as "**/*.py" or "src/*.ts"; a pattern without a slash matches in every folder.

    Hidden and ignored files are included, the inside of .git is not. At most 100 paths, oldest first."""

    read_only: ClassVar[bool] = True

    pattern: Argument = Field(description="The pattern")
    path: Argument | None = Field(None, description="Directory to look in: the current directory by default")

    async def run(self, ctx: ToolContext) -> ToolResult:
        folder, pattern = self._split(ctx)
        await self._check(ctx, folder)
        args = ["--files", "--no-ignore"]
        if pattern:
            args.append("--glob=" + ("\\" if pattern.startswith("!") else "") + pattern)
        if not pattern.startswith(".git/"):
            args.append("--glob=!.git")
        total, paths = await paths_by_time(ctx, args, cwd=folder, newest_first=False, count=SHOWN)
        if not paths:
            placed = bool(self.path) or self.pattern.startswith("/")
            said = nothing(ctx, "No files found", placed=placed)
            return ToolResult(said, details={"count": 0})
        lines = [_from_cwd(ctx, posixpath.join(folder, path)) for path in paths]
        if total > len(paths):
            lines.append(
                f"(Showing {len(paths)} of {total} matching files; {total - len(paths)} more are not listed. "
                "Narrow the pattern or path to see the rest.)"
            )
        return ToolResult("\n".join(lines), details={"count": total})

    def _split(self, ctx: ToolContext) -> tuple[str, str]:
        """The folder to list and the pattern below it; an absolute pattern brings its own folder."""
        if not self.pattern.startswith("/"):
            return ctx.resolve(self.path or "."), self.pattern.removeprefix("./")
        fixed = re.match(r"[^*?\[{\\]*/", self.pattern)
        folder = fixed[0] if fixed else "/"
        return ctx.resolve(folder), "/" + self.pattern[len(folder) :]

    async def _check(self, ctx: ToolContext, folder: str) -> None:
        said = self.path or folder
        try:
            kind = (await ctx.sandbox.stat(folder, follow=True)).kind
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ToolError(
                f"Directory does not exist: {said}. Note: your current working directory is {ctx.cwd}."
            ) from error
        if kind != "directory":
            raise ToolError(f"Path is not a directory: {said}")


def _from_cwd(ctx: ToolContext, path: str) -> str:
    relative = posixpath.relpath(path, ctx.cwd)
    return path if relative.startswith("../") else relative
