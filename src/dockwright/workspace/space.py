"""The copy of the repository that an agent works on: its way into a sandbox, checkpoints, and the way out.

All of it lives as commits in a quarantine repository of ours. The user's repository is read once and gets one new ref.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

from dockwright.errors import ConfigError, SandboxError
from dockwright.events import Delivered
from dockwright.sandbox import WORKSPACE, Sandbox
from dockwright.workspace import inside
from dockwright.workspace.delivery import commit_message, fetch_into, own_message
from dockwright.workspace.durable import write_durably
from dockwright.workspace.hardened import GitError
from dockwright.workspace.names import leads_outside, refusal, text
from dockwright.workspace.objects import LINK, SUBMODULE, Change, link_targets
from dockwright.workspace.own_git import NOT_KEPT, OwnGit
from dockwright.workspace.quarantine import MAIL, NAME, Quarantine

LOST = "everything since the checkpoint before"


@dataclass(frozen=True)
class Checkpoint:
    """The workspace as it was, as a commit on the checkpoint before. `left_out` names what is not in it, and why. `git`
    names what was kept of the agent's own repository, see OwnGit."""

    commit: str
    tree: str
    left_out: tuple[str, ...] = ()
    git: str | None = None


@dataclass
class Workspace:
    """`base` is the commit the agent starts from: the user's `head`, or one on top of it with what was uncommitted.

    `carried` names what is uncommitted in it, `left_out` what of the user's folder is not in it and why, `refused`
    what must not come out of the sandbox. `last` is the newest checkpoint, `state` the run's private folder.
    """

    repo: Path
    state: Path
    base: str
    head: str | None
    branch: str
    object_format: str
    carried: tuple[str, ...]
    left_out: tuple[str, ...]
    last: Checkpoint
    refused: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.own_git = OwnGit.load(self.state / "git")
        self._forget()

    @classmethod
    def load(cls, state: Path) -> Workspace:
        """The workspace that a run keeps in `state`. Raises ConfigError where there is none."""
        try:
            kept = json.loads((state / "workspace.json").read_bytes())
        except FileNotFoundError:
            raise ConfigError(f"{state} holds no workspace: that run ended before it took the repository in.") from None
        with suppress(OSError, ValueError):  # newer, but a power loss may have eaten it; then the journal knows
            kept |= json.loads((state / "last.json").read_bytes())
        lists = {name: tuple(kept[name]) for name in ("carried", "left_out", "refused")}
        last = Checkpoint(**kept["last"] | {"left_out": tuple(kept["last"]["left_out"])})
        return cls(**kept | lists | {"repo": Path(kept["repo"]), "state": state, "last": last})

    def save(self) -> None:
        kept = asdict(self) | {"repo": str(self.repo), "state": str(self.state)}
        (self.state / "last.json").unlink(missing_ok=True)
        write_durably(self.state / "workspace.json", json.dumps(kept).encode())

    def _save_last(self) -> None:
        """After each checkpoint, and so without waiting for the disk, or insisting on it."""
        beside = self.state / ".last.json"
        with suppress(OSError):
            beside.touch(mode=0o600)
            beside.write_text(json.dumps({"last": asdict(self.last), "refused": self.refused}))
            beside.replace(self.state / "last.json")

    @property
    def quarantine(self) -> Quarantine:
        return Quarantine(self.state / "objects.git")

    async def enter(self, sandbox: Sandbox, commit: str | None = None) -> None:
        """Fill the sandbox's empty /workspace with the files and the history of a commit, `base` if none is given.

        Raises SandboxError where they do not fit in."""
        self._forget()
        try:
            await inside.enter(sandbox, self.quarantine, commit or self.base, self.branch, self.object_format)
        except (GitError, OSError) as error:
            raise SandboxError(
                f"The files of {self.repo} could not be laid out in the sandbox: {error}. "
                "Make sure that its disk is large enough, then run again."
            ) from error
        if commit is None:
            await self.own_git.begin(sandbox)

    async def checkpoint(self, sandbox: Sandbox, message: str) -> Checkpoint:
        """Keep the files as they are now, but for what is ignored. The last one again where nothing changed.

        Never fails for what the agent did: what cannot be taken stays inside and is named."""
        before = self.last

        async def keep_git() -> None:  # known from then on, also where the files cannot be kept
            self.last = replace(self.last, git=await self.own_git.keep(sandbox, before.git))

        made, _ = await asyncio.gather(self._files(sandbox, message), keep_git())
        self.last = replace(made, git=self.last.git)
        if self.last != before:
            await asyncio.to_thread(self._save_last)
        return self.last

    async def restore(self, sandbox: Sandbox, to: Checkpoint) -> str:
        """Make the files in the sandbox and the agent's own repository those of an earlier checkpoint, which becomes
        the last one; ignored files stay. Returns why the agent's repository could not be put back, if it could not."""
        self._forget()
        why = await self._restore_git(sandbox, to.git)
        try:
            await inside.restore(sandbox, self.quarantine, to.tree)
        except (GitError, OSError):
            await inside.rebuild(sandbox, self.quarantine, self.last.tree, self.object_format)
            await inside.restore(sandbox, self.quarantine, to.tree)
        self.last = to
        await asyncio.to_thread(self.save)
        return why

    async def _restore_git(self, sandbox: Sandbox, state: str | None) -> str:
        if state == NOT_KEPT:
            return "it was not kept then"
        if state is None and await self.own_git.is_as_entered(sandbox):
            return ""
        if state is None:
            await self.own_git.clear(sandbox)
            await self.enter(sandbox)
            return ""
        try:
            if not await self.own_git.put_back(sandbox, state):
                await self.enter(sandbox)  # brings what is missing, and files that are restored after this
                await self.own_git.put_back(sandbox, state)
        except GitError as error:
            return str(error)
        return ""

    async def patch(self, commit: str, without: Iterable[str] = ()) -> bytes:
        """All changes from `base` to a commit, but those of some paths, as a patch that `git apply` takes."""
        but = [f":(exclude,literal){path}" for path in without]
        return await self.quarantine.diff("diff", "--binary", "--full-index", self.base, commit, "--", ".", *but)

    async def diff_text(self, old: str, new: str) -> str:
        """The changes between two commits, to be shown."""
        return (await self.quarantine.diff("diff", old, new)).decode(errors="replace")

    async def changed_files(self, commit: str) -> tuple[str, ...]:
        return tuple(text(change.path) for change in await self.quarantine.changes(self.base, commit))

    async def as_one_commit(self, commit: str) -> str:
        """A commit's files as a single commit on `base`: what is proven."""
        tree = await self.quarantine.id(f"{commit}^{{tree}}")
        return await self.quarantine.commit(tree, self.base, "Changes by dockwright", f"@{int(time.time())} +0000")

    async def deliver(
        self, run: str, commit: str, message: str, *, trailers: str = "", branch: bool = True,
        not_in_patch: Mapping[str, str] | None = None, author: tuple[str, str] = (NAME, MAIL),
        own: Sequence[tuple[str, str]] = (),
    ) -> Delivered | None:  # fmt: skip
        """Hand a commit's files over as one commit on `base`: a patch file and, where asked and possible, a branch of
        the user's repository. None where nothing changed. The user's refs, index, files and config stay as they are.
        `not_in_patch` are paths that stay out of the patch file, and why; `own` are commits that come before, as tree
        and message.
        """
        changes, insertions, deletions = await self.quarantine.changes_with_lines(self.base, commit)
        if not changes:
            return None
        ref = f"refs/heads/dockwright/{run}"
        messages = [(tree, own_message(text, trailers)) for tree, text in own]
        final = await self._on_top(ref, messages, commit, commit_message(message, trailers), author)
        await self.quarantine.git("update-ref", ref, final)
        patch = self.state / "changes.patch"
        await asyncio.to_thread(write_durably, patch, await self.patch(final, not_in_patch or ()))
        why = await fetch_into(self.repo, self.quarantine, ref, final) if branch else ""
        kept_out = [f"the patch is without {path}: {reason}" for path, reason in (not_in_patch or {}).items()]
        return Delivered(
            branch=f"dockwright/{run}" if branch and not why else None,
            commit=final,
            patch=str(patch),
            files=len(changes),
            insertions=insertions,
            deletions=deletions,
            left_out=self.last.left_out,
            notes=tuple(filter(None, [why, *kept_out, *await self._links_outside(changes)])),
        )

    def _forget(self) -> None:
        """Whatever is in the sandbox, it was not looked at."""
        self._seen: tuple[int | None, str] | None = None  # a mark of the files, and the tree they were kept as
        self.own_git.seen = None

    async def _files(self, sandbox: Sandbox, message: str) -> Checkpoint:
        seen = await sandbox.mark(WORKSPACE, but=f"{WORKSPACE}/.git")
        if seen is not None and self._seen == (seen, self.last.tree):
            return self.last
        self._seen = None
        try:
            made = await self._take(sandbox, message)
        except (GitError, OSError):  # the agent may have broken our repository in the sandbox
            try:
                await inside.rebuild(sandbox, self.quarantine, self.last.tree, self.object_format)
                made = await self._take(sandbox, message)
            except (GitError, OSError) as error:
                return replace(self.last, left_out=(*self.refused, f"{LOST}: {error}"))
        self._seen = seen, made.tree
        return made

    async def _take(self, sandbox: Sandbox, message: str, *, again: bool = False) -> Checkpoint:
        kept = await inside.keep(sandbox, self.last.tree)
        if kept.pack is None:
            return replace(self.last, left_out=(*self.refused, *kept.complaints))
        with TemporaryFile(dir=self.state) as file:
            await inside.read_pack(sandbox, kept.pack, file)
            last = self.last
            made, changes = await self.quarantine.take_in_commit(file, kept.tree, last.commit, message, last.tree)
        refused = {change: why for change in changes if (why := refusal_of(change))}
        if refused and again:
            raise GitError(f"{text(next(iter(refused)).path)} must not come out and could not be left out")
        if refused:
            lines = [f"{text(change.path)}: {why}" for change, why in refused.items()]
            self.refused = tuple(dict.fromkeys([*self.refused, *lines]))
            await inside.put_back(sandbox, list(refused))
            return await self._take(sandbox, message, again=True)
        return Checkpoint(made, kept.tree, (*self.refused, *kept.complaints))

    async def _on_top(
        self, ref: str, own: Sequence[tuple[str, str]], commit: str, message: str, author: tuple[str, str]
    ) -> str:
        """The commit to deliver: `own` and then the files of `commit` on `base`, or the latter alone on what was
        delivered before. One that has the same files as that before it is left out."""
        asked = (ref, f"{ref}^{{tree}}", f"{self.base}^{{tree}}", f"{commit}^{{tree}}")
        at, its_tree, base_tree, tree = await self.quarantine.ids(*asked)
        commits = [(tree, message)]
        if not at:
            at, its_tree, commits = self.base, base_tree, [*own, (tree, message)]
        for tree, message in commits:
            if tree != its_tree:
                at = await self.quarantine.commit(tree, at, message, f"@{int(time.time())} +0000", author)
                its_tree = tree
        return at

    async def _links_outside(self, changes: Sequence[Change]) -> list[str]:
        links = [(change.path, change.new.oid) for change in changes if change.new and change.new.mode == LINK]
        targets = await link_targets(self.quarantine, {oid for _, oid in links})
        return [
            f"{text(path)} is a link that leads out of the repository, to {text(targets[oid])}"
            for path, oid in links
            if leads_outside(path, targets[oid])
        ]


def refusal_of(change: Change) -> str | None:
    """Why a change made inside may not come out."""
    if change.new is None:
        return None
    if change.new.mode == SUBMODULE:
        return "a repository of its own inside the workspace"
    return refusal(change.path)
