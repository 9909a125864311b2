"""`objects.git`, the bare repository of a run: ours alone, so no driver, hook or filter is defined in it.

History comes in from the user's repository, packs come in from the sandbox, and both are looked at only here.
A pack of the agent's own commits, which is rarely asked for, GitPython takes in, in a thread, with the same hardened
command line.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from dockwright.errors import ConfigError
from dockwright.workspace.hardened import RUN_IT, GitError, Line, command, run
from dockwright.workspace.objects import Change, Entry

NAME, MAIL = "dockwright", "noreply@dockwright.invalid"
_QUIET = "--no-ext-diff --no-textconv --no-color --no-renames"
_RAW = "-r -z --raw"
_TREES_MEMORY, _TREES_SIZE = 1 << 30, 64 << 20
# What came in on stdin; printed are its commit, and how that differs from what was before.
_TAKE_IN = f"""
"$@" index-pack --stdin --fix-thin --strict > /dev/null || exit
commit=$("$@" commit-tree "$TREE" -p "$PARENT" -m "$MESSAGE") || exit
echo "$commit"
ulimit -v {_TREES_MEMORY // 1024}; ulimit -f {_TREES_SIZE // 512}
exec "$@" diff-tree {_QUIET} {_RAW} "$SINCE" "$commit"
"""


@dataclass(frozen=True)
class Quarantine:
    folder: Path

    @classmethod
    async def create(cls, folder: Path, object_format: str) -> Quarantine:
        if await asyncio.to_thread(os.path.lexists, folder):
            raise ConfigError(f"{folder} is there already. A run starts in a folder of its own; choose another.")
        init = ["init", "--quiet", "--bare", "--template=", f"--object-format={object_format}"]
        await run(command(folder, init))
        return cls(folder)

    async def git(
        self,
        *arguments: str,
        stdin: bytes | IO[bytes] = b"",
        deadline: float = 60.0,
        environment: Sequence[str] = (),
        memory: int = 4 << 30,
        largest: int = 2 << 30,
    ) -> bytes:
        """What one git command prints. Raises GitError, also after `deadline` seconds."""
        line = command(self.folder, arguments, environment=environment, memory=memory, largest=largest)
        return await run(line, stdin=stdin, deadline=deadline)

    async def ids(self, *revisions: str) -> list[str]:
        """As `id`, of many at once, with "" for what there is none of."""
        asked = "".join(f"{revision}\n" for revision in revisions).encode()
        answer = await self.git("cat-file", "--batch-check=%(objectname)", stdin=asked)
        return ["" if line.endswith(" missing") else line for line in answer.decode().splitlines()]

    async def id(self, revision: str) -> str:
        """The full object id of a revision such as `refs/x^{tree}`. Raises GitError where there is none."""
        return (await self.git("rev-parse", "--verify", "--end-of-options", revision)).decode().strip()

    async def commit(
        self, tree: str, parent: str | None, message: str, date: str, author: tuple[str, str] = (NAME, MAIL)
    ) -> str:
        """A commit by dockwright, for an author by name and mail. `date` is "@SECONDS ZONE"; equal input gives the
        equal commit."""
        who = _identity(author, date)
        parents = ["-p", parent] if parent else []
        made = await self.git("commit-tree", tree, *parents, stdin=message.encode(), environment=who)
        return made.decode().strip()

    async def with_entries(self, treeish: str, entries: Mapping[bytes, Entry | None]) -> str:
        """The tree that has these entries in place of its own; None is for none."""
        with TemporaryDirectory(dir=self.folder.parent) as folder:
            index = [f"GIT_INDEX_FILE={folder}/index"]
            await self.git("read-tree", treeish, environment=index)
            lines = b"".join(
                b"%s %s\t%s\0" % (entry.mode.encode(), entry.oid.encode(), path)
                for path, wanted in entries.items()
                for entry in [wanted or Entry("0", "0" * len(treeish))]
            )
            await self.git("update-index", "-z", "--index-info", stdin=lines, environment=index)
            return (await self.git("write-tree", environment=index)).decode().strip()

    async def packs(self, wanted: str) -> AsyncIterator[tuple[str, bytes]]:
        """Objects with all they lead to, as files for `objects/pack` of another repository: about 32 MiB each."""
        with TemporaryDirectory(dir=self.folder.parent) as folder:
            options = ["--revs", "--quiet", "--window=0", "--delta-base-offset", "--max-pack-size=32m"]
            await self.git("pack-objects", *options, f"{folder}/pack", stdin=wanted.encode(), deadline=300.0)
            for name in sorted(os.listdir(folder), reverse=True):  # packs before their indexes
                yield name, await asyncio.to_thread(Path(folder, name).read_bytes)

    def shallow(self) -> bytes:
        """Git's list of the commits whose parents are not here; empty where the history is whole."""
        file = self.folder / "shallow"
        return file.read_bytes() if file.exists() else b""

    async def diff(self, verb: str, *arguments: str, memory: int = 4 << 30, limit: int = 1 << 30) -> bytes:
        """What `diff` or `diff-tree` says; a tree made to explode ends at the limit, in bytes."""
        return await self.git(verb, *_QUIET.split(), *arguments, memory=memory, largest=limit)

    async def take_in(self, pack: IO[bytes]) -> None:
        """Keep the objects of a pack from somewhere hostile: all of them well-formed, none leading nowhere."""
        pack.flush()
        pack.seek(0)
        line = command(self.folder, ["index-pack", "--stdin", "--fix-thin", "--strict"], script=RUN_IT)
        await asyncio.to_thread(_by_gitpython, line, pack, 300.0)

    async def take_in_commit(
        self, pack: IO[bytes], tree: str, parent: str, message: str, since: str
    ) -> tuple[str, list[Change]]:
        """Take in a pack together with a commit by dockwright of a tree in it; its id, and the paths in which it
        differs from `since`. Equal input gives the equal commit: it has no date."""
        facts = (f"TREE={tree}", f"PARENT={parent}", f"MESSAGE={message}", f"SINCE={since}")
        given = (*_identity((NAME, MAIL), "@0 +0000"), *facts)
        name = "index-pack, commit-tree or diff-tree"
        pack.flush()
        pack.seek(0)
        line = command(self.folder, [], environment=given, script=_TAKE_IN, name=name)
        made, _, raw = (await run(line, stdin=pack, deadline=300.0)).partition(b"\n")
        return made.decode(), list(_parse_raw(raw))

    async def changes(self, old: str, new: str) -> list[Change]:
        """The paths in which two trees or commits differ; a rename is one path gone and one new."""
        raw = await self.diff("diff-tree", *_RAW.split(), old, new, memory=_TREES_MEMORY, limit=_TREES_SIZE)
        return list(_parse_raw(raw))

    async def changes_with_lines(self, old: str, new: str) -> tuple[list[Change], int, int]:
        """As `changes`, and how many lines came and went; binary files count as files, not as lines."""
        said = await self.diff("diff-tree", *_RAW.split(), "--numstat", old, new, limit=2 * _TREES_SIZE)
        changes = list(_parse_raw(said))
        counts = [line.split(b"\t")[:2] for line in said.split(b"\0")[2 * len(changes) : -1]]
        plus, minus = (sum(int(pair[side]) for pair in counts if pair[side] != b"-") for side in (0, 1))
        return changes, plus, minus


def _identity(author: tuple[str, str], date: str) -> list[str]:
    return [
        f"GIT_{role}_{key}={value}"
        for role, (name, mail) in (("AUTHOR", author), ("COMMITTER", (NAME, MAIL)))
        for key, value in (("NAME", name), ("EMAIL", mail), ("DATE", date))
    ]


def _by_gitpython(line: Line, stdin: IO[bytes], deadline: float) -> None:
    from git import Git, GitCommandError

    whole = ["/usr/bin/env", "-i", *line.environment, *line.arguments]
    try:
        Git("/").execute(whole, istream=stdin.fileno(), kill_after_timeout=deadline)
    except GitCommandError as error:
        raise GitError(f"{line.name} failed ({error.status}): {error.stderr.strip()[:4000]}") from None


def _parse_raw(raw: bytes) -> Iterator[Change]:
    """`:MODE MODE OID OID STATUS NUL PATH NUL`, over and over; what comes after that is not read."""
    fields = iter(raw.split(b"\0"))
    for facts, path in zip(fields, fields, strict=False):
        if not facts.startswith(b":"):
            return
        old_mode, new_mode, old_oid, new_oid, _status = facts[1:].decode().split(" ")
        old = None if old_mode == "000000" else Entry(old_mode, old_oid)
        new = None if new_mode == "000000" else Entry(new_mode, new_oid)
        yield Change(path, old, new)
