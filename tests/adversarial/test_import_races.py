"""A folder that changes while it is taken in: a file that becomes a link, a folder that becomes a link out of the
repository. Nothing from outside comes along."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.repositories import new_repository, tree, write

from dockwright.errors import ConfigError
from dockwright.workspace import snapshot

SECRET = "of-the-host-91c2"
ROUNDS = 6


SWAP = """
import os, sys
repo, outside = sys.argv[1:]
while True:
    for name, target in (("d", outside), ("f", outside + "/file")):
        os.rename(f"{repo}/{name}", f"{repo}/.git/{name}")
        os.symlink(target, f"{repo}/{name}")
        os.unlink(f"{repo}/{name}")
        os.rename(f"{repo}/.git/{name}", f"{repo}/{name}")
"""


@contextmanager
def swapping(repo: Path, outside: Path) -> Iterator[None]:
    """`d` is in turn a folder with a file and a link to a folder outside, `f` a file and a link to a file there."""
    with subprocess.Popen([sys.executable, "-c", SWAP, str(repo), str(outside)]) as process:
        try:
            yield
        finally:
            process.kill()


def prepared(folder: Path) -> tuple[Path, Path]:
    repo, outside = new_repository(folder / "repo"), folder / "outside"
    write(repo, {"d/file": b"mine\n", "f": b"mine\n"})
    write(outside, {"file": SECRET.encode()})
    return repo, outside


async def test_nothing_from_outside_comes_along(tmp_path: Path) -> None:
    repo, outside = prepared(tmp_path)
    taken = 0
    with swapping(repo, outside):
        for number in range(ROUNDS):
            try:
                workspace = await snapshot(repo, tmp_path / f"state{number}")
            except ConfigError:
                continue  # it changed too much to be taken
            taken += 1
            assert SECRET not in str(tree(workspace.quarantine.folder, workspace.base))
    assert taken > 0


def test_a_careless_copy_takes_it_along(tmp_path: Path) -> None:
    repo, outside = prepared(tmp_path)
    seen = ""
    with swapping(repo, outside):
        for _ in range(1_000_000):
            try:
                seen = (repo / "f").read_text() + (repo / "d/file").read_text()
            except OSError:
                continue
            if SECRET in seen:
                break
    assert SECRET in seen
