"""ripgrep in the sandbox: how Grep and Glob ask it, and what its answers mean.

rg itself runs in parallel and unsorted; a few lines of Python beside it order what it found by time, so that only the
page that is wanted crosses the stream.
"""

from __future__ import annotations

import posixpath

from dockwright.errors import ToolError
from dockwright.sandbox import WORKSPACE, ExecResult
from dockwright.tools.base import ToolContext
from dockwright.tools.output import decoded, quoted, tidied

SECONDS = 60.0
KEPT = 8 << 20  # bytes of matches that one search may hand over

_BY_TIME = """
import os, sys
newest, skip, count = (int(a) for a in sys.argv[1:4])
out, into = os.pipe()
rg = os.posix_spawn(sys.argv[4], sys.argv[4:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, into, 1)])
os.close(into)
with open(out, "rb") as file:
    found = file.read().split(b"\\0")
def key(path):
    try:
        return os.lstat(path).st_mtime_ns * (-1 if newest else 1), path
    except OSError:
        return 0, path
paths = sorted(filter(None, found), key=key)
page = paths[skip:skip + count] if count else paths[skip:]
sys.stdout.buffer.write(b"%d\\0" % len(paths) + b"\\0".join(page))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(rg, 0)[1]))
"""


async def ripgrep(ctx: ToolContext, args: list[str], *, cwd: str) -> ExecResult:
    """Run rg. Raises ToolError with rg's own words where it did not search."""
    return _searched(await ctx.sandbox.exec([_rg(ctx), *_ALWAYS, *args], cwd=cwd, timeout=SECONDS, limit=KEPT))


async def paths_by_time(
    ctx: ToolContext, args: list[str], *, cwd: str, newest_first: bool, skip: int = 0, count: int = 0
) -> tuple[int, list[str]]:
    """How many paths rg lists, and a page of them ordered by modification time (count 0: all the rest)."""
    order = [str(int(newest_first)), str(skip), str(count)]
    words = [*order, _rg(ctx), *_ALWAYS, "--null", *args]
    result = _searched(await ctx.sandbox.python(_BY_TIME, *words, cwd=cwd, timeout=SECONDS, limit=KEPT))
    if result.hidden:
        raise ToolError("Too many files match. Narrow the path, the glob or the pattern, or give a head_limit.")
    total, *paths = decoded(result.stdout).split("\0")
    return int(total[:9] or 0) if total.isdecimal() else 0, [path.removeprefix("./") for path in paths if path]


async def listed(ctx: ToolContext, folder: str) -> list[str]:
    """Names of the files right in a folder; nothing where it cannot be listed."""
    try:
        args = ["--files", "--no-ignore", "--max-depth=1", "--null"]
        found = await ripgrep(ctx, args, cwd=folder)
    except (OSError, ToolError):
        return []
    return sorted(posixpath.basename(path) for path in decoded(found.stdout).split("\0") if path)


def nothing(ctx: ToolContext, what: str, *, placed: bool) -> str:
    """That there is none. Unless the call said where to look (`placed`), a shell that has moved is worth a word."""
    return what if placed or ctx.cwd == WORKSPACE else f"{what}. Note: your current working directory is {ctx.cwd}."


_PCRE2 = "Consider enabling PCRE2 with the --pcre2 flag, which can handle backreferences\nand look-around."
_ALWAYS = ("--no-config", "--no-messages", "--color=never", "--no-heading", "--hidden")


def _rg(ctx: ToolContext) -> str:
    return f"{ctx.sandbox.runtime}/bin/rg"


def _searched(result: ExecResult) -> ExecResult:
    """rg says 0 for found, 1 for nothing, 2 for an error; with --no-messages stderr has only what stopped it all."""
    if result.ended != "exit":
        raise ToolError(f"Search timed out after {SECONDS:g}s. Narrow the path, the glob or the pattern.")
    if result.exit_code not in (0, 1) and not result.stdout.strip(b"0\0") and result.stderr:
        words = quoted(tidied(decoded(result.stderr)), 2000).replace(_PCRE2, "`grep -P` in Bash has both.")
        raise ToolError(f"Search failed — ripgrep rejected the pattern, glob, or file type without searching:\n{words}")
    return result
