"""A run's branch pushed and offered as a pull request, by the user's own git and `gh`, because the user said so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dockwright.errors import ConfigError
from dockwright.result import RunResult
from dockwright.ui.words import without_marks
from dockwright.workspace.delivery import commit_message

_LONGEST_BODY = 60_000  # GitHub takes 65,536 characters
_SECONDS = 300


def open_pull_request(result: RunResult, folder: Path, remote: str, base: str | None) -> str:
    """The address that `gh` prints. Raises ConfigError; the branch stays pushed where only `gh` fails or is missing."""
    if result.branch is None:
        raise ConfigError(f"The run {result.run} delivered no branch, so there is nothing to push.")
    if remote.startswith("-"):
        raise ConfigError(f"--remote {remote} is no name of a remote.")
    repo = Path(result.repo)
    _, said = _run(repo, ["git", "push", "--", remote, f"refs/heads/{result.branch}:refs/heads/{result.branch}"])
    if shutil.which("gh") is None:
        raise ConfigError(
            f"{result.branch} was pushed to {remote}, but no pull request was opened: gh was not found in PATH. "
            "Open it where the branch is now; or install the GitHub CLI (https://cli.github.com), log in with `gh auth "
            f"login`, and say this again. The remote said:\n{said or 'nothing'}"
        )
    title = commit_message(without_marks(result.summary) or result.task, "").partition("\n")[0]
    body = (folder / "report.md").read_text("utf-8")[:_LONGEST_BODY]
    into = ["--base", base] if base else []
    command = ["gh", "pr", "create", "--head", result.branch, "--title", title, "--body-file", "-", *into]
    return _run(repo, command, body)[0]


def _run(repo: Path, command: Sequence[str], stdin: str = "") -> tuple[str, str]:
    """What it printed on each of its outputs. Raises ConfigError where it fails."""
    words = f"`{' '.join(command[:3])}`"
    try:
        done = subprocess.run(
            command, cwd=repo, input=stdin, capture_output=True, text=True, errors="replace", timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{words} did not work in {repo}: {error}") from None
    if done.returncode != 0:
        raise ConfigError(f"{words} failed in {repo}: {done.stderr.strip()}")
    return done.stdout.strip(), done.stderr.strip()
