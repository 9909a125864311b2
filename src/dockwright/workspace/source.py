"""The folder the user named, judged before git reads it: which kind it is and whether its parts are its own.

A `.git` file, `commondir`, alternates or a link can lead to somebody else's repository. They are followed only where
they stay inside, or where the other side points back at this very folder (linked worktrees, submodules).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from dockwright.errors import ConfigError
from dockwright.workspace.hardened import MOST_OUTPUT, GitError, command, run

_PLAIN_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_+-]*([./][A-Za-z0-9_+-]+)*")
_READ = (
    "HEAD", "config", "config.worktree", "index", "packed-refs", "shallow", "commondir", "gitdir", "info/exclude",
    "info/attributes", "info/grafts", "objects/info/alternates",
)  # fmt: skip
_SMALL_FILE = 4 << 20
LARGEST_HISTORY = 64 << 30


@dataclass(frozen=True)
class Folder:
    """A folder that is no repository, empty or not. `config` says where the user's own ignore file is."""

    path: Path
    config: tuple[str, ...] = ()


@dataclass(frozen=True)
class Repository:
    """`head` is None where nothing was committed yet; `branch` is the user's where its name is plain, else "main"."""

    path: Path
    git_dir: Path
    common_dir: Path
    bare: bool = False
    object_format: str = "sha1"
    head: str | None = None
    branch: str = "main"
    shallow: bytes = b""
    file_mode: bool = True
    config: tuple[str, ...] = ()

    async def git(
        self, *arguments: str, stdin: bytes = b"", stdout: IO[bytes] | None = None, deadline: float = 120.0
    ) -> bytes:
        """Run one of the few reading commands in the user's repository. Raises ConfigError with git's words."""
        work_tree = None if self.bare else self.path
        largest = LARGEST_HISTORY if stdout else MOST_OUTPUT
        line = command(self.git_dir, arguments, work_tree=work_tree, config=self.config, largest=largest)
        try:
            return await run(line, stdin=stdin, stdout=stdout, cwd=self.path, deadline=deadline)
        except GitError as error:
            raise ConfigError(
                f"Reading the repository {self.path} failed: {error} Try `git fsck` there, then run again."
            ) from error


async def is_partial(repository: Repository) -> bool:
    """Whether it is a clone that leaves contents to be fetched when they are needed."""
    pattern = r"^remote\..*\.partialclonefilter$"
    return bool(await _setting(repository.common_dir / "config", pattern, how="--get-regexp"))


async def find_source(path: Path) -> Repository | Folder:
    """Judge the folder at `path`, and know what to read of it. Raises ConfigError where it is missing, no folder, not
    all its own, or damaged."""
    match await judged(path):
        case Repository() as repository:
            return await _with_facts(repository)
        case Folder() as folder:
            return replace(folder, config=await _own_ignores())


async def judged(path: Path) -> Repository | Folder:
    """What the folder at `path` is. Raises ConfigError where it is missing, no folder, or not all its own."""
    root, names = _look(path)
    if ".git" in names:
        git_dir = await _follow_dot_git(root)
        repository = Repository(root, git_dir, _common_dir(root, git_dir))
    elif {"HEAD", "objects", "refs"} <= names:
        repository = Repository(root, root, root, bare=True)
    else:
        _refuse_part_of_repository(root, names)
        return Folder(root)
    check_own(repository)
    return repository


def _look(path: Path) -> tuple[Path, set[str]]:
    try:
        root = path.resolve(strict=True)
        return root, set(os.listdir(root))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist. Name an existing folder, or make it first.") from None
    except (NotADirectoryError, PermissionError) as error:
        raise ConfigError(f"{path} cannot be worked on: {error.strerror}. Name a folder that you can read.") from None


def check_own(repository: Repository) -> None:
    """Refuse a repository whose objects or refs are kept, or would be written, outside of it, and one in which a
    read would never end. Raises ConfigError."""
    common = repository.common_dir
    for file in [folder / name for folder in {repository.git_dir, common} for name in _READ]:
        if file.exists() and not _regular(file):
            raise ConfigError(f"{file} is no regular file. Repair the repository, then run again.")
    for name in ("objects", "objects/pack", "objects/info", "refs", "refs/heads", "refs/heads/dockwright"):
        if (common / name).is_symlink():
            raise _leads_outside(repository.path, common / name, (common / name).resolve())
    for other in _alternates(common / "objects"):
        if not _inside(other, repository.path, common):
            raise _leads_outside(repository.path, common / "objects/info/alternates", other)


async def _with_facts(repository: Repository) -> Repository:
    common = repository.common_dir
    facts = await repository.git("rev-parse", "--show-object-format", "--is-shallow-repository")
    object_format, shallow = facts.decode().split()
    branch = _branch(repository.git_dir)
    head = (await repository.git("rev-parse", "--revs-only", "HEAD")).decode().strip()
    if not head and branch in _branches(common):
        raise ConfigError(f"The branch {branch} of {repository.path} is damaged: try `git fsck` there, then run again.")
    return replace(
        repository,
        object_format=object_format,
        head=head or None,
        branch=branch if _PLAIN_BRANCH.fullmatch(branch) else "main",
        shallow=_read_small(common / "shallow") if shallow == "true" else b"",
        file_mode=await _setting(common / "config", "core.fileMode", "--type=bool") != "false",
        config=() if await _setting(common / "config", "core.excludesFile") else await _own_ignores(),
    )


async def _follow_dot_git(root: Path) -> Path:
    dot_git = root / ".git"
    git_dir = dot_git.resolve()
    if dot_git.is_file():
        git_dir = (root / os.fsdecode(_read_small(dot_git).partition(b"gitdir: ")[2].strip())).resolve()
    if git_dir == root or not git_dir.is_dir():
        raise ConfigError(
            f"{dot_git} does not lead to a repository. Repair it (`git worktree repair`), then run again."
        )
    known = await _known_work_tree(git_dir)
    if (known or root) != root or not (known or _inside(git_dir, root)):
        raise _leads_outside(root, dot_git, git_dir)
    return git_dir


async def _known_work_tree(git_dir: Path) -> Path | None:
    """The folder that the repository itself names as its work tree: linked worktrees and submodules do."""
    link = git_dir / "gitdir"
    if link.is_file():
        return (git_dir / os.fsdecode(_read_small(link).strip())).resolve().parent
    named = await _setting(git_dir / "config", "core.worktree")
    return (git_dir / named).resolve() if named else None


def _common_dir(root: Path, git_dir: Path) -> Path:
    file = git_dir / "commondir"
    if not file.is_file():
        return git_dir
    common = (git_dir / os.fsdecode(_read_small(file).strip())).resolve()
    if not _inside(common, root) and git_dir.parent != common / "worktrees":
        raise _leads_outside(root, file, common)
    return common


def _alternates(objects: Path, depth: int = 5) -> Iterator[Path]:
    file = objects / "info" / "alternates"
    if not file.is_file() or not depth:
        return
    for line in _read_small(file).splitlines():
        if line and not line.startswith(b"#"):
            other = (objects / os.fsdecode(line.strip(b'"'))).resolve()
            yield other
            yield from _alternates(other, depth - 1)


def _refuse_part_of_repository(root: Path, names: set[str]) -> None:
    """A folder with files below somebody's repository: its top is what must be named. An empty one may start afresh."""
    above = next((parent for parent in root.parents if (parent / ".git").exists()), None)
    if names and above:
        raise ConfigError(f"{root} is part of the repository {above}. Name that folder: `-C {above}`.")


def _branches(common_dir: Path) -> set[str]:
    """The branches that have a file of their own."""
    heads = common_dir / "refs/heads"
    return {os.path.relpath(os.path.join(folder, name), heads) for folder, _, names in os.walk(heads) for name in names}


def _branch(git_dir: Path) -> str:
    head = git_dir / "HEAD"
    if head.is_symlink() or not head.is_file():
        return ""
    return os.fsdecode(_read_small(head).partition(b"ref: refs/heads/")[2].strip())


async def _own_ignores() -> tuple[str, ...]:
    """Where the user's account keeps its ignore file, by git's own rules, which hardened git must not look up."""
    folder = _at_home(os.environ.get("XDG_CONFIG_HOME") or "~/.config") / "git"
    for file in (_at_home("~/.gitconfig"), folder / "config"):
        if named := await _setting(file, "core.excludesFile"):
            return (f"core.excludesFile={_at_home(named)}",)
    return (f"core.excludesFile={folder / 'ignore'}",)


def _at_home(path: str) -> Path:
    return Path(os.path.expanduser(path))


async def _setting(file: Path, name: str, *options: str, how: str = "--get") -> str:
    """A value of one configuration file, includes not followed; empty where it is not set."""
    if not _regular(file):
        return ""
    key = name.rpartition(".")[2].strip("$").lower().encode()  # a file must spell it out, in whatever case
    read = ["config", f"--file={file}", "--no-includes", *options, how, name]
    try:
        if len(start := _read_small(file)) < _SMALL_FILE and key not in start.lower():
            return ""
        return os.fsdecode(await run(command(Path("/nonexistent"), read))).strip()
    except (GitError, OSError):
        return ""


def _regular(file: Path) -> bool:
    return file.is_file()


def _inside(path: Path, *roots: Path) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _read_small(file: Path) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as opened:
        return opened.read(_SMALL_FILE)


def _leads_outside(root: Path, part: Path, target: Path) -> ConfigError:
    return ConfigError(
        f"{part} leads to {target}, outside of {root}, and nothing there points back. dockwright reads only the "
        f"repository you name: name {target}, or make a full copy with `git clone --no-local --dissociate {root} COPY`."
    )
