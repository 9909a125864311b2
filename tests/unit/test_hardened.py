"""How git is started on the host: what it prints is bounded, and it ends when it is due, with all that it started."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from dockwright.workspace.hardened import GitError, Line, command, run

KINDS = (resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
LONG = 'echo $$ > "$NOTE"; sleep 60 & sleep 60'


def line(folder: Path, script: str) -> Line:
    return command(folder, [], script=script, name="sleeper", environment=[f"NOTE={folder / 'note'}"])


def alive(group: int) -> bool:
    """Whether a process of the group runs; one that only waits for its parent does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended since
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                return True
    return False


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())


async def until_started(note: Path) -> int:
    async with asyncio.timeout(10):
        while not (note.exists() and note.read_text().strip()):
            await asyncio.sleep(0.01)
    return int(note.read_text())


async def until_dead(group: int) -> None:
    """All of it was sent its signal; what is not waited for takes a moment more to die."""
    async with asyncio.timeout(10):
        while alive(group):
            await asyncio.sleep(0.01)


async def test_what_is_not_done_in_time_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    with pytest.raises(GitError, match=r"git sleeper did not end within 1 seconds"):
        await run(line(tmp_path, LONG), deadline=1)
    await until_dead(await until_started(tmp_path / "note"))


async def test_what_is_cancelled_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    task = asyncio.create_task(run(line(tmp_path, LONG)))
    group = await until_started(tmp_path / "note")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_dead(group)


async def test_git_alone_has_its_limits_too(tmp_path: Path) -> None:
    await run(command(tmp_path / "bare", ["init", "--quiet", "--bare"]))
    waiting = command(tmp_path / "bare", ["cat-file", "--batch"], memory=1 << 30, largest=1 << 20)
    given, giving = os.pipe()
    with open(given, "rb") as stdin, open(giving, "wb") as giver:
        before = children()
        task = asyncio.create_task(run(waiting, stdin=stdin))
        await asyncio.sleep(0)
        (pid,) = children() - before
        limits = [resource.prlimit(int(pid), kind) for kind in KINDS]
        giver.close()
        assert await task == b""
    assert limits == [(1 << 30, 1 << 30), (1 << 20, 1 << 20), (0, 0)]


async def test_it_has_no_more_than_its_limits_and_its_environment(tmp_path: Path) -> None:
    script = "ulimit -v; ulimit -f; ulimit -c; env | grep -c -e HOME=/nonexistent -e ^USER -e ^XDG"
    said = await run(command(tmp_path, [], script=script, name="limits", memory=1 << 30, largest=1 << 20))
    assert said.split() == [b"1048576", b"2048", b"0", b"1"]


async def test_one_that_writes_without_end_stops_at_its_limit(tmp_path: Path) -> None:
    endless = command(tmp_path, [], script="exec yes", name="endless", largest=1 << 20)
    with pytest.raises(GitError, match=rf"git endless failed \(-{signal.SIGXFSZ.value}\)"):
        await run(endless)


# Stands for a kernel that is older: the call that waits for a process by a descriptor is not there.
WITHOUT = """
import asyncio, ctypes, struct, sys
from pathlib import Path
from dockwright.workspace.hardened import GitError, command, run
libc, lines = ctypes.CDLL(None), ((0x20, 0, 0, 0), (0x15, 0, 1, 434), (0x06, 0, 0, 0x50026), (0x06, 0, 0, 0x7FFF0000))
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
assert libc.prctl(38, 1, 0, 0, 0) == libc.prctl(22, 2, struct.pack("@HP", 4, ctypes.addressof(code))) == 0
print(asyncio.run(run(command(Path(sys.argv[1]), [], script="echo said", name="echo"))))
try:
    asyncio.run(run(command(Path(sys.argv[1]), [], script="sleep 60", name="sleep"), deadline=0.2))
except GitError as error:
    print(error)
"""


def test_a_kernel_without_descriptors_of_processes_is_enough(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", WITHOUT, tmp_path], capture_output=True, text=True, timeout=30)
    assert said.stdout.splitlines() == ["b'said\\n'", "git sleep did not end within 0.2 seconds."], said.stderr
