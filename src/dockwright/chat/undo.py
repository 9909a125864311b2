"""Moments of a chat that can be gone back to: the files, the agent's own repository, the shell and the conversation.

The files are a checkpoint of the workspace. Of the agent's repository, which a checkpoint leaves out, an archive is
kept on the host for the time of the chat; nobody opens it there. Ignored files stay as they are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dockwright.chat import git_state
from dockwright.errors import SandboxError
from dockwright.events import Noted, Restored
from dockwright.run.work import Work, keep
from dockwright.sandbox import HOME, ExecResult
from dockwright.workspace.hardened import GitError
from dockwright.workspace.inside import InsideError

_ARCHIVE = f"{HOME}/.dockwright-undo.tar.gz"
_MOST = 64 << 20
_DEADLINE = 300.0


class CannotUndoError(Exception):
    """The files could not be put back as they were; what was reached stays."""


@dataclass(frozen=True)
class Point:
    """`archives` are all that were made by then; the last is that of this point, if `has_git`. The rest is what a tool
    call depends on beside the files."""

    turn: int
    commit: str
    archives: tuple[Path, ...]
    has_git: bool
    cwd: str
    seen: Mapping[str, str]
    jobs: frozenset[str]


class Undo:
    """`folder` is ours alone and empty."""

    def __init__(self, work: Work, folder: Path) -> None:
        self._work = work
        self._folder = folder
        self._at_first: bytes | None = None  # names of the objects that came with the repository, a line each
        self._known = b""  # the same with those in the archives
        self._archives: tuple[Path, ...] = ()
        self._left_out: tuple[str, ...] = ()

    async def mark(self) -> Point:
        """Keep everything as it is now."""
        work, context = self._work, self._work.session.context
        turn = work.session.history.turn
        await keep(work.workspace, work.sandbox, work.journal, turn)
        now = work.workspace.last
        for path in now.left_out:
            if path not in self._left_out:
                self._warn(f"Cannot be kept or undone: {path}")
        self._left_out = now.left_out
        return Point(
            turn=turn, commit=now.commit, has_git=await self._keep_git(), archives=self._archives,
            cwd=context.cwd, seen=dict(context.seen), jobs=frozenset(context.jobs),
        )  # fmt: skip

    async def go_back(self, point: Point) -> None:
        """Make everything as it was. Processes that were started in the background since are stopped.

        Raises CannotUndoError; then the conversation is left alone."""
        work, context = self._work, self._work.session.context
        for job in context.jobs.keys() - point.jobs:
            with suppress(KeyError):
                await work.sandbox.kill(job)
            del context.jobs[job]
        await self._run("open")
        if point.has_git:
            await self._put_git_back(point)
        else:
            self._warn("What /workspace's own .git was then is not known; it stays as it is.")
        try:
            await work.workspace.restore(work.sandbox, point.commit)
        except (InsideError, GitError, OSError) as error:
            raise CannotUndoError(f"The files could not be put back: {error}.") from error
        context.cwd, context.seen = point.cwd, dict(point.seen)
        await work.journal.append(Restored(turn=point.turn, commit=point.commit))

    async def _keep_git(self) -> bool:
        first = "first" if self._at_first is None else "later"
        result = await self._run("save", _ARCHIVE, str(_MOST), first, stdin=self._known)
        try:
            data = await self._work.sandbox.read(_ARCHIVE, limit=4 * _MOST) if result.exit_code == 0 else b""
        except OSError:  # the agent took it away
            data = b""
        if not data:
            self._warn(f"/undo will bring back files, but not /workspace's own .git: {_words(result)}")
            return False
        archive = self._folder / f"{len(self._archives)}.tar.gz"
        archive.write_bytes(data)
        self._archives += (archive,)
        self._known = result.stdout
        if self._at_first is None:
            self._at_first = self._known
        return True

    async def _put_git_back(self, point: Point) -> None:
        parts = [self._at_first or b"", *(archive.read_bytes() for archive in point.archives)]
        given = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        result = await self._run("restore", stdin=given)
        if result.exit_code == git_state.OBJECTS_GONE:
            await self._work.workspace.enter(self._work.sandbox)  # brings them, and files that are restored after this
            result = await self._run("restore", stdin=given)
        if result.exit_code != 0:
            self._warn(f"/workspace's own .git could not be put back: {_words(result)}")

    async def _run(self, *arguments: str, stdin: bytes = b"") -> ExecResult:
        python = f"{self._work.sandbox.runtime}/bin/python3"
        argv = [python, "-I", "-S", "-c", inspect.getsource(git_state), *arguments]
        try:
            return await self._work.sandbox.exec(argv, cwd="/", stdin=stdin, timeout=_DEADLINE, limit=_MOST)
        except OSError as error:
            raise SandboxError(f"The sandbox's own Python could not be started: {error}") from error

    def _warn(self, text: str) -> None:
        self._work.journal.show(Noted(level="warning", text=text))


def _words(result: ExecResult) -> str:
    said = result.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1][:300] if said else f"it ended with {result.exit_code}"
