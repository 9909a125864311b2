"""How git is started on the host: nothing inherited, nothing that a repository's own configuration could start.

Even so, commands that look at a work tree or make a diff run programs named by a repository (drivers have free names,
so no flag covers them). In the user's repository only object and index reading and one fetch of a new ref are used.
"""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import subprocess
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
# Bounds on address space and on each file: an object that unpacks to more ends git, not the machine. A shell puts them
# on itself before it starts anything; git alone is given them in the moment after its start.
_BOUNDS = 'ulimit -v "$1"; ulimit -f "$2"; ulimit -c 0; shift 2; '
RUN_IT = 'exec "$@"'
MOST_OUTPUT = 1 << 30
_KILL_SECONDS = 5


class GitError(DockwrightError):
    """Git failed, on the host or in a sandbox, ran out of time or said too much."""


class Line(NamedTuple):
    """A process: what it is called in errors, its arguments, all of its environment as NAME=VALUE, and limits of
    resources by their number that it does not put on itself."""

    name: str
    arguments: list[str]
    environment: list[str]
    limits: dict[int, int]


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
    script: str = "",
    name: str = "",
) -> Line:
    """A hardened git process. `protocol` is the one transport it may use ("file" or none), `memory` and `largest` are
    how many bytes it may have in memory and write into one file. A `script` of the shell, called `name`, finds git with
    its options and `arguments` in "$@"; what starts processes of its own needs one."""
    git = _git()
    if git is None:
        raise ConfigError("git was not found in PATH. Install git 2.31 or later on this machine.")
    path = f"PATH={os.path.dirname(git)}:/usr/bin:/bin"
    settings = [word for setting in (*_CONFIG, *config) for word in ("-c", setting)]
    trees = [f"--work-tree={work_tree}"] if work_tree else []
    shell = ["/bin/sh", "-c", _BOUNDS + script, "sh", str(memory // 1024), str(largest // 512)] if script else []
    words = [*shell, git, "--no-pager", *settings, f"--git-dir={git_dir}", *trees, *arguments]
    limits = {resource.RLIMIT_AS: memory, resource.RLIMIT_FSIZE: largest, resource.RLIMIT_CORE: 0}
    all_of_it = [path, *_ENVIRONMENT, f"GIT_ALLOW_PROTOCOL={protocol}", *environment]
    return Line(f"git {name or arguments[0]}", words, all_of_it, {} if script else limits)


@cache
def _git() -> str | None:
    return shutil.which("git")


async def run(
    line: Line,
    *,
    stdin: bytes | IO[bytes] = b"",
    stdout: IO[bytes] | None = None,
    cwd: Path | None = None,
    deadline: float = 60.0,
) -> bytes:
    """Run it to its end and return what it printed, unless that goes to a file. `deadline` is in seconds.
    Raises GitError."""
    with TemporaryFile() as given, TemporaryFile() as printed, TemporaryFile() as said:
        if isinstance(stdin, bytes):
            given.write(stdin)
            given.seek(0)
        process = subprocess.Popen(  # noqa: ASYNC220 - as asyncio does it, but without its thread for each
            line.arguments, stdin=given if isinstance(stdin, bytes) else stdin, stdout=stdout or printed, stderr=said,
            env=dict(word.split("=", 1) for word in line.environment), cwd=cwd, start_new_session=True,
        )  # fmt: skip
        try:
            for limit, most in line.limits.items():
                _, ours = resource.getrlimit(limit)
                bound = most if ours == resource.RLIM_INFINITY else min(most, ours)
                resource.prlimit(process.pid, limit, (bound, bound))
            async with asyncio.timeout(deadline):
                await _end_of(process)
        except TimeoutError:
            raise GitError(f"{line.name} did not end within {deadline:g} seconds.") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                with suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(process.wait, _KILL_SECONDS)
        if printed.seek(0, os.SEEK_END) >= MOST_OUTPUT:
            raise GitError(f"git printed more than {MOST_OUTPUT >> 20} MiB; the repository is too large or hostile.")
        if process.returncode != 0:
            said.seek(0)
            words = said.read(4000).decode(errors="replace").strip()
            raise GitError(f"{line.name} failed ({process.returncode}): {words}")
        printed.seek(0)
        return printed.read()


async def _end_of(process: subprocess.Popen[bytes]) -> None:
    """Without a thread for each process, as asyncio's own way of starting one has it before Python 3.12."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:  # a kernel before 5.3, or one that lets nobody
        await asyncio.to_thread(process.wait)
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(fd, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)
