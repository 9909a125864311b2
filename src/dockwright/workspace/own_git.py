"""The agent's own repository, the .git in /workspace, which a checkpoint of the files leaves out: kept and put back.

What was kept are archives in a folder of the run's, made and opened by a small program inside; on the host nobody
opens one. None is a repository as it was when the workspace was entered, "" one that could not be kept.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from dataclasses import dataclass, field
from pathlib import Path

from dockwright.errors import SandboxError
from dockwright.sandbox import HOME, WORKSPACE, ExecResult, Sandbox
from dockwright.workspace import git_state
from dockwright.workspace.durable import write_durably
from dockwright.workspace.hardened import GitError
from dockwright.workspace.names import text

NOT_KEPT = ""
_ARCHIVE = f"{HOME}/.dockwright-git.tar.gz"
_GIT = f"{WORKSPACE}/{git_state.GIT}"
_MOST = 64 << 20
_DEADLINE = 300.0
_PROGRAM = inspect.getsource(git_state)


@dataclass
class OwnGit:
    """`known` are the objects that are in an archive or came with the workspace, `first` the latter, a line each.

    `mark` changes when the repository does, `entered` is what it was when it was entered; `seen` is the runner's mark
    of what was kept last. `why` says why it was not kept the last time."""

    folder: Path
    mark: str = ""
    entered: str = ""
    first: str = ""
    known: str = ""
    count: int = 0
    why: str = field(default="", compare=False)
    seen: int | None = field(default=None, compare=False)

    @classmethod
    def load(cls, folder: Path) -> OwnGit:
        file = folder / "state.json"
        return cls(folder, **json.loads(file.read_bytes())) if file.exists() else cls(folder)

    async def begin(self, sandbox: Sandbox) -> None:
        """Look at a repository that was just entered."""
        self.seen = await self._mark(sandbox)
        mark, _, names = text((await _run(sandbox, "begin")).stdout).partition("\n")
        self.mark, self.entered, self.first = mark, mark, names
        self.known += names
        await asyncio.to_thread(self._save)

    async def is_as_entered(self, sandbox: Sandbox) -> bool:
        mark, _, names = text((await _run(sandbox, "begin")).stdout).partition("\n")
        return mark == self.entered and names == self.first

    async def keep(self, sandbox: Sandbox, before: str | None) -> str | None:
        """The name of the state it is in now: `before` where nothing changed since."""
        seen = await self._mark(sandbox)
        if seen is not None and seen == self.seen:
            return before
        self.seen = None
        result = await _run(sandbox, "save", _ARCHIVE, str(_MOST), self.mark, stdin=_bytes(self.known))
        mark, _, fresh = text(result.stdout).partition("\n")
        if result.exit_code == 0 and mark == self.mark:
            self.seen = seen
            return before
        try:
            data = await sandbox.read(_ARCHIVE, limit=4 * _MOST) if result.exit_code == 0 else b""
        except OSError:  # the agent took it away
            data = b""
        if not data:
            self.mark, self.why = mark, _words(result)
            return NOT_KEPT
        await asyncio.to_thread(self.folder.mkdir, mode=0o700, exist_ok=True)
        self.count += 1
        await asyncio.to_thread(write_durably, self._archive(self.count), data)
        self.known += fresh
        self.mark, self.seen = mark, seen
        await asyncio.to_thread(self._save)
        return str(self.count)

    async def clear(self, sandbox: Sandbox) -> None:
        await _run(sandbox, "clear")

    async def put_back(self, sandbox: Sandbox, state: str) -> bool:
        """Make it what it was; False where objects that came with the workspace are gone, which has to be entered
        again before. Raises GitError."""
        archives = [self._archive(number) for number in range(1, int(state) + 1)]
        parts = [_bytes(self.first), *(archive.read_bytes() for archive in archives)]
        given = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        self.seen = None
        result = await _run(sandbox, "restore", stdin=given)
        if result.exit_code == git_state.OBJECTS_GONE:
            return False
        if result.exit_code != 0:
            raise GitError(_words(result))
        self.mark = text(result.stdout).strip()
        await asyncio.to_thread(self._save)
        return True

    async def _mark(self, sandbox: Sandbox) -> int | None:
        return await sandbox.mark(_GIT, but=f"{_GIT}/objects")

    def _archive(self, number: int) -> Path:
        return self.folder / f"{number}.tar.gz"

    def _save(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        kept = {
            "mark": self.mark,
            "entered": self.entered,
            "first": self.first,
            "known": self.known,
            "count": self.count,
        }
        write_durably(self.folder / "state.json", json.dumps(kept).encode())


async def _run(sandbox: Sandbox, *arguments: str, stdin: bytes = b"") -> ExecResult:
    try:
        return await sandbox.python(_PROGRAM, *arguments, cwd="/", stdin=stdin, timeout=_DEADLINE, limit=_MOST)
    except OSError as error:
        raise SandboxError(f"The sandbox's own Python could not be started: {error}") from error


def _bytes(names: str) -> bytes:
    return names.encode("utf-8", "surrogateescape")


def _words(result: ExecResult) -> str:
    said = result.stderr.decode("utf-8", "replace").strip().splitlines()
    return said[-1][:300] if said else f"it ended with {result.exit_code}"
