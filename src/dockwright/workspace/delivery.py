"""The one thing written to the user's repository: a new branch, fetched from the quarantine repository."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

from dockwright.config import TRAILER
from dockwright.errors import ConfigError
from dockwright.workspace.hardened import RUN_IT, GitError, command, run
from dockwright.workspace.quarantine import Quarantine
from dockwright.workspace.source import Repository, judged

# Git 2.54 runs hooks that the configuration defines, which core.hooksPath does not stop. A fetch fires none of these.
_HARMLESS_EVENTS = frozenset(
    b"applypatch-msg pre-applypatch post-applypatch pre-commit pre-merge-commit prepare-commit-msg commit-msg "
    b"post-commit pre-rebase post-checkout post-merge pre-push post-rewrite sendemail-validate".split()
)
_LONGEST_SUBJECT = 72
_CLAUSE = r"[;:] | \(| [-\u2013\u2014] |, (?:and|but|so|that|then|when|where|which|with)\b"  # how another one begins
_LONGEST_MESSAGE = 20_000


async def fetch_into(repo: Path, quarantine: Quarantine, ref: str, commit: str) -> str:
    """Give the user's repository `ref` at `commit`. Returns "" or, where it could not take it, the reason."""
    try:
        target = await judged(repo)
        if not isinstance(target, Repository):
            return f"{repo} is no git repository, so there is no branch"
        if event := await _hook_event(target):
            return f"the configuration of {repo} runs a program on each {event}, so no branch was written"
        if why := await _in_the_way(target, quarantine, ref):
            return why
        arguments = [
            "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
            "--no-recurse-submodules", "--upload-pack=git-upload-pack", f"file://{quarantine.folder}", f"{ref}:{ref}",
        ]  # fmt: skip
        checked = ["transfer.fsckObjects=true"]
        fetch = command(target.git_dir, arguments, config=checked, protocol="file", script=RUN_IT)
        await run(fetch, cwd=target.path, deadline=300.0)
        there = (await target.git("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")).decode().strip()
    except (GitError, ConfigError, OSError) as error:
        return f"the repository did not take the branch: {error}"
    return "" if there == commit else f"the branch arrived as {there}, not as {commit}: do not use it"


async def _in_the_way(target: Repository, quarantine: Quarantine, ref: str) -> str:
    """A branch of the user's that has this name, or one of which it would have to be a part."""
    above = ref.rpartition("/")[0]
    if await target.git("rev-parse", "--revs-only", above):
        name = above.removeprefix("refs/heads/")
        return f"a branch called {name} leaves no room for others below it; rename it (git branch -m {name} NEW)"
    there = (await target.git("rev-parse", "--revs-only", ref)).decode().strip()
    if not there:
        return ""
    try:  # ours from before, which this one goes on from, is not in the base
        await quarantine.git("merge-base", "--is-ancestor", there, ref)
        news = await quarantine.git("rev-list", "--max-count=1", there, "^refs/dockwright/base")
    except GitError:
        news = b""
    return "" if news else f"there is another branch called {ref.removeprefix('refs/heads/')}, which stays as it is"


async def _hook_event(target: Repository) -> str:
    """An event that a fetch may fire and for which the configuration defines a hook."""
    line = command(target.git_dir, ["config", "--includes", "--null", "--list"])
    settings = [setting.partition(b"\n") for setting in (await run(line, cwd=target.path)).split(b"\0")]
    events = {value for name, _, value in settings if name.startswith(b"hook.") and name.endswith(b".event")}
    return min(events - _HARMLESS_EVENTS, default=b"").decode(errors="replace")


def commit_message(said: str, trailers: str) -> str:
    """A subject, the rest below it, and the trailers."""
    lines = _plain(said).splitlines() or ["Changes by dockwright"]
    first, *rest = re.split(r"(?<=[.!?])\s+(?=\S)", lines[0], maxsplit=1)
    if len(lines[0]) > _LONGEST_SUBJECT >= len(first):
        lines = [first, "", *rest, *lines[1:]]
    if len(lines[0]) > _LONGEST_SUBJECT:
        lines = [_shortened(lines[0]), "", *lines]
    elif lines[1:] and lines[1]:
        lines.insert(1, "")
    return _with_trailers("\n".join(lines), trailers)


def own_message(said: str, trailers: str) -> str:
    """The message of a commit of the agent's, as it is but for what no message should hold, and the trailers."""
    return _with_trailers(_plain(said) or "Changes by dockwright", trailers)


def _plain(said: str) -> str:
    """No control characters, nothing that reorders what is shown, no end of lines but one kind."""
    plain = "".join(char for char in said if char in "\n\t" or unicodedata.category(char)[0] != "C")
    return "\n".join(line.rstrip() for line in plain[:_LONGEST_MESSAGE].strip().splitlines())


def _shortened(line: str) -> str:
    """Up to the end of a clause, else of a word."""
    clause = re.match(rf"(.{{24,{_LONGEST_SUBJECT}}})(?={_CLAUSE})", line)
    return clause[1] if clause else f"{line[: _LONGEST_SUBJECT - 1].rsplit(' ', 1)[0]}…"


def _with_trailers(message: str, trailers: str) -> str:
    if not trailers:
        return f"{message}\n"
    has_some = "\n\n" in message and all(TRAILER.fullmatch(line) for line in message.split("\n\n")[-1].splitlines())
    return f"{message}{chr(10) if has_some else chr(10) * 2}{trailers}\n"
