"""A run's branch pushed and offered as a pull request, by the user's own git and `gh`, because the user said so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from dockwright.errors import ConfigError
from dockwright.result import RunResult

_LONGEST_BODY = 60_000  # GitHub takes 65,536 characters
_SECONDS = 300


def open_pull_request(result: RunResult, folder: Path, remote: str, base: str | None) -> str:
    """The address that `gh` prints. Raises ConfigError, before anything is pushed where that can be known."""
    if result.branch is None:
        raise ConfigError(f"The run {result.run} delivered no branch, so there is nothing to push.")
    if shutil.which("gh") is None:
        raise ConfigError(
            "gh was not found in PATH. Install the GitHub CLI (https://cli.github.com) and log in with `gh auth "
            f"login`; or push it yourself: git -C {result.repo} push {remote} {result.branch}"
        )
    if remote.startswith("-"):
        raise ConfigError(f"--remote {remote} is no name of a remote.")
    repo = Path(result.repo)
    title = _run(repo, ["git", "log", "-1", "--format=%s", f"refs/heads/{result.branch}", "--"])
    _run(repo, ["git", "push", "--", remote, f"refs/heads/{result.branch}:refs/heads/{result.branch}"])
    body = (folder / "report.md").read_text("utf-8")[:_LONGEST_BODY]
    into = ["--base", base] if base else []
    command = ["gh", "pr", "create", "--head", result.branch, "--title", title, "--body-file", "-", *into]
    return _run(repo, command, body)


def _run(repo: Path, command: Sequence[str], stdin: str = "") -> str:
    try:
        done = subprocess.run(
            command, cwd=repo, input=stdin, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"`{' '.join(command[:3])}` did not work in {repo}: {error}") from None
    if done.returncode != 0:
        raise ConfigError(f"`{' '.join(command[:3])}` failed in {repo}: {done.stderr.strip()}")
    return done.stdout.strip()
