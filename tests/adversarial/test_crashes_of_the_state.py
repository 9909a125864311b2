"""The disk is full, or the process is killed: what was acknowledged is kept, what was not is said, and the user's
repository is whole."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.running import PROGRAM, REPORT, WRITE, Desk, leftovers

from dockwright.events import ToolFinished
from dockwright.journal import read
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use

ROOT = [4] if os.getuid() == 0 else []  # MiB of a file system; to mount one takes root
BIG = tool_use("Bash", {"command": "head -c 8000000 /dev/urandom > big; echo made"})


@contextmanager
def small(folder: Path, mebibytes: int) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=700", "none", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.collects
@pytest.mark.docker
@pytest.mark.parametrize("mebibytes", ROOT)
async def test_a_full_disk_ends_the_run_with_words_and_keeps_the_repository(tmp_path: Path, mebibytes: int) -> None:
    desk = Desk(tmp_path)
    before = desk.tree()
    with small(tmp_path / "state", mebibytes):
        code, said = await desk.run([Turn([WRITE]), Turn([BIG]), Turn([REPORT]), "Done."])
        run = desk.runs[-1]
        kept = list(read(run / "journal.jsonl"))
    assert (code, "could not be kept" in said, "No space left" in said) == (5, True, True), said
    assert desk.tree() == before
    assert kept != []
    assert leftovers(run.name) != []  # what could not be kept is still there, for resume
    assert f"dockwright-{run.name}" in " ".join(said.split())
    code, _ = await desk.call(None, "gc")
    assert (code, leftovers(run.name)) == (0, [])


@pytest.mark.collects
@pytest.mark.docker
async def test_a_killed_run_has_in_its_journal_what_was_acknowledged(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    before = desk.tree()
    async with ScriptedApi([Turn([WRITE]), Turn([tool_use("Bash", {"command": "sleep 60"})])]) as api:
        process = await desk.start(api, *desk.arguments("docker"))
        async with asyncio.timeout(60):
            while len(api.requests) < 2:  # the result of the first call was sent: it must be on disk
                await asyncio.sleep(0.05)
        process.kill()
        await process.communicate()
    run = desk.runs[-1]
    results = [event for event in read(run / "journal.jsonl") if isinstance(event, ToolFinished)]
    assert [event.name for event in results] == ["Write"]
    assert desk.tree() == before
    code, _ = await desk.call(None, "gc")
    assert (code, leftovers(run.name)) == (0, [])


def test_a_careless_log_has_nothing_of_it() -> None:
    script = "import os, sys; open(sys.argv[1], 'w').write('acknowledged'); os.kill(os.getpid(), 9)"
    log = Path(os.environ.get("TMPDIR", "/tmp"), f"careless-{os.getpid()}.log")
    python = str(Path(PROGRAM).with_name("python"))
    subprocess.run([python, "-c", script.replace("open(", "f = open(").replace("').write", "'); f.write"), str(log)])
    assert log.read_bytes() == b""
    log.unlink()
