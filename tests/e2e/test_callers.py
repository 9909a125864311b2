"""Whoever calls, root or a user whom the machine does not know by name: a run works, and what is made is theirs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.running import WORK, Desk, leftovers

CALLERS = (1000, 4321) if os.getuid() == 0 else (os.getuid(),)  # root calls in every other test
HELD = 'test "$(id -u)" = 1000 && test "$(stat -c %u app.sh)" = 1000 && grep -q "^Seccomp:.2" /proc/self/status'
MADE = ("app.sh", ".git/refs/heads/dockwright", ".git/objects/pack")


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("uid", CALLERS)
async def test_a_run_and_its_apply_work_for_any_caller_and_all_files_are_the_callers(
    backend: str, uid: int, folder: Path
) -> None:
    engine = Path("/var/run/docker.sock")
    group = engine.stat().st_gid if backend == "docker" else uid
    become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={group}", "--inh-caps=-all", "--")
    desk = Desk(folder, prefix=become if os.getuid() == 0 else (), env={"HOME": "/nowhere"})
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)
    code, output = await desk.run(WORK, "--check", HELD, backend=backend)
    assert code == 0, output
    run = desk.runs[0].name
    code, output = await desk.call(None, "apply", run)
    assert code == 0, output
    assert {path.lstat().st_uid for path in folder.rglob("*")} == {uid}
    assert [name for name in MADE if not (desk.repo / name).exists()] == []
    assert leftovers(run) == []
