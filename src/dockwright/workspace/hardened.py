"""How git is started on the host: nothing inherited, nothing that a repository's own configuration could start.

Even so, commands that look at a work tree or make a diff run programs named by a repository (drivers have free names,
so no flag covers them). In the user's repository only object and index reading and one fetch of a new ref are used.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from dockwright.errors import ConfigError, DockwrightError

_CONFIG = (
    "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.pager=cat", "core.editor=true", "diff.external=",
    "gpg.program=/bin/false", "commit.gpgSign=false", "log.showSignature=false", "core.sshCommand=/bin/false",
    "credential.helper=", "core.askPass=/bin/false", "protocol.allow=never", "core.alternateRefsCommand=",
    "core.attributesFile=/dev/null", "safe.bareRepository=explicit", "gc.auto=0", "maintenance.auto=false",
    "fetch.recurseSubmodules=false", "submodule.recurse=false", "fetch.writeCommitGraph=false",
    "core.logAllRefUpdates=false", "transfer.bundleURI=false", "fetch.bundleURI=", "uploadpack.packObjectsHook=",
    "fetch.unpackLimit=1", "core.untrackedCache=false", "core.fsync=committed,reference",
    "core.packedGitLimit=512m", "core.packedGitWindowSize=32m", "core.bigFileThreshold=64m",
)  # fmt: skip
_ENVIRONMENT = (
    "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_ATTR_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
    "GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_NO_LAZY_FETCH=1", "GIT_GRAFT_FILE=/nonexistent",
    "LC_ALL=C", "HOME=/nonexistent",
)  # fmt: skip
# Bounds on address space and on each file: an object that unpacks to more ends git, not the machine.
_BOUNDS = 'ulimit -v "$1"; ulimit -f "$2"; ulimit -c 0; shift 2; '
RUN_IT = 'exec "$@"'
_MOST_OUTPUT = 512 << 20
_KILL_SECONDS = 5


class GitError(DockwrightError):
    """Git failed, on the host or in a sandbox, ran out of time or said too much."""


class Line(NamedTuple):
    """A process: its arguments, and all of its environment as NAME=VALUE."""

    arguments: list[str]
    environment: list[str]


def command(
    git_dir: Path,
    arguments: Sequence[str],
    *,
    work_tree: Path | None = None,
    config: Sequence[str] = (),
    protocol: str = "none",
    environment: Sequence[str] = (),
    memory: int = 4 << 30,
    largest: int = 2 << 30,
    script: str = RUN_IT,
) -> Line:
    """A hardened git process. `protocol` is the one transport it may use ("file" or none), `memory` and `largest` are
    how many bytes it may have in memory and write into one file. A `script` of the shell finds git with its options
    and `arguments` in "$@"."""
    git = _git()
    if git is None:
        raise ConfigError("git was not found in PATH. Install git 2.31 or later on this machine.")
    path = f"PATH={os.path.dirname(git)}:/usr/bin:/bin"
    settings = [word for setting in (*_CONFIG, *config) for word in ("-c", setting)]
    trees = [f"--work-tree={work_tree}"] if work_tree else []
    words = [
        "/bin/sh", "-c", _BOUNDS + script, "sh", str(memory // 1024), str(largest // 512),
        git, "--no-pager", *settings, f"--git-dir={git_dir}", *trees, *arguments,
    ]  # fmt: skip
    return Line(words, [path, *_ENVIRONMENT, f"GIT_ALLOW_PROTOCOL={protocol}", *environment])


@cache
def _git() -> str | None:
    return shutil.which("git")


async def run(
    line: Line,
    *,
    stdin: bytes = b"",
    stdout: IO[bytes] | None = None,
    cwd: Path | None = None,
    deadline: float = 60.0,
) -> bytes:
    """Run it to its end and return what it printed, unless that goes to a file. `deadline` is in seconds.
    Raises GitError."""
    with TemporaryFile() as given, TemporaryFile() as said:
        given.write(stdin)
        given.seek(0)
        try:
            async with asyncio.timeout(deadline):
                process = await asyncio.create_subprocess_exec(
                    *line.arguments,
                    stdin=given,
                    stdout=stdout or asyncio.subprocess.PIPE,
                    stderr=said,
                    env=dict(word.split("=", 1) for word in line.environment),
                    cwd=cwd,
                    start_new_session=True,
                )
                try:
                    output = await _read(process.stdout)
                    code = await process.wait()
                finally:
                    if process.returncode is None:
                        await _kill(process)
        except TimeoutError:
            raise GitError(f"{_name(line)} did not end within {deadline:g} seconds.") from None
        if code != 0:
            said.seek(0)
            raise GitError(f"{_name(line)} failed ({code}): {said.read(4000).decode(errors='replace').strip()}")
        return output


async def _kill(process: asyncio.subprocess.Process) -> None:
    """What it still says is read, because a full pipe would hold up the news of its end; and not for ever."""
    os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_KILL_SECONDS):
            while process.stdout and await process.stdout.read(1 << 20):
                pass
            await process.wait()


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    parts: list[bytes] = []
    size = 0
    while stream and (part := await stream.read(1 << 20)):
        size += len(part)
        if size > _MOST_OUTPUT:
            raise GitError(f"git printed more than {_MOST_OUTPUT >> 20} MiB; the repository is too large or hostile.")
        parts.append(part)
    return b"".join(parts)


def _name(line: Line) -> str:
    """ "git VERB", without the page of hardening before it."""
    arguments = line.arguments
    after = next(index for index, word in enumerate(arguments) if word.startswith("--git-dir=")) + 1
    return "git " + next((word for word in arguments[after:] if not word.startswith("--work-tree=")), "")
