"""A repository may hold modules with the names of ours: they are not imported, however dockwright is started in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.running import KEY, PROGRAM

NAMES = ("docker", "yaml", "git", "typer", "rich", "pydantic", "asyncio", "json", "anthropic", "platformdirs", "h11")


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Each module and package leaves a file when it is imported."""
    (tmp_path / "repo").mkdir()
    for name in NAMES:
        evil = f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r})\nraise SystemExit('shadowed')\n"
        (tmp_path / f"repo/{name}.py").write_text(evil)
        (tmp_path / f"repo/{name}").mkdir()
        (tmp_path / f"repo/{name}/__init__.py").write_text(evil)
    (tmp_path / "repo/sitecustomize.py").write_text("raise SystemExit('shadowed')\n")
    return tmp_path / "repo"


def start(repo: Path, *line: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(repo.parent), "ANTHROPIC_API_KEY": KEY}
    done = subprocess.run(line, cwd=repo, env=env, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", [("agents", "list"), ("doctor",), ("gc", "--dry-run"), ("runs",)], ids=" ".join)
@pytest.mark.parametrize("how", [(PROGRAM,), (sys.executable, "-m", "dockwright")], ids=["script", "module"])
def test_nothing_of_the_current_folder_is_imported(repo: Path, how: tuple[str, ...], command: tuple[str, ...]) -> None:
    said = start(repo, *how, *command)
    assert ("shadowed" in said, (repo.parent / "sprung").exists()) == (False, False), said


def test_python_imports_them_without_care(repo: Path) -> None:
    said = start(repo, sys.executable, "-c", "import docker")
    assert ("shadowed" in said, (repo.parent / "sprung").read_text()) == (True, "docker")
