"""What a run leaves on the host belongs to who ran it, also to a user whom the machine does not know by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.repositories import new_repository

SCRIPT = """
import asyncio, concurrent.futures.thread, os, sys  # all before the user is left who can read the interpreter
from pathlib import Path
import git
from dockwright.workspace import apply, snapshot
from tests.repositories import agent_commit

folder, uid = Path(sys.argv[1]), int(sys.argv[2])
if uid != os.getuid():
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
os.environ.pop("HOME", None)

async def main():
    workspace = await snapshot(folder / "repo", folder / "state")
    delivered = await workspace.deliver("r1", await agent_commit(workspace, {"a/new": b"new"}), "Add")
    assert delivered.branch == "dockwright/r1", delivered
    await apply(folder / "repo", folder / "state", "r1")

asyncio.run(main())
"""
USERS = [0, 1000, 4321] if os.getuid() == 0 else [os.getuid()]


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("uid", USERS)
def test_everything_that_is_made_belongs_to_the_caller(folder: Path, uid: int) -> None:
    repo = new_repository(folder / "repo")
    for path in (folder, repo, *repo.rglob("*")):
        os.chown(path, uid, uid)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(uid)],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (repo / "a/new").read_bytes() == b"new"
    assert {path.lstat().st_uid for path in folder.rglob("*")} == {uid}
