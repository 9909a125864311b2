"""The journal: what was written is there again, whatever tore its end, and one process writes it at a time."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dockwright.errors import ConfigError, ExitCode
from dockwright.events import Event, Noted, ToolStarted
from dockwright.journal import DiskFull, Journal, JournalError, read

FIRST, SECOND = Noted(text="first"), Noted(text="second: \N{SNOWMAN} \ud800")
FULL = """
import asyncio, sys
from pathlib import Path
from dockwright.events import Noted
from dockwright.journal import DiskFull, Journal

async def main():
    written = 0
    with Journal(Path(sys.argv[1])) as journal:
        try:
            while True:
                await journal.append(Noted(text="x" * 1000))
                written += 1
        except DiskFull as error:
            assert "dockwright resume" in str(error), error
        await journal.append(Noted(text="the end"))
    print(written)

asyncio.run(main())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


async def write(path: Path, *events: Event) -> None:
    with Journal(path) as journal:
        for event in events:
            await journal.append(event)


async def test_an_end_torn_at_any_byte_costs_the_last_event_alone(path: Path) -> None:
    await write(path, FIRST, SECOND)
    data = path.read_bytes()
    whole = data.index(b"\n") + 1
    for cut in range(whole, len(data)):
        path.write_bytes(data[:cut])
        assert list(read(path)) == [FIRST]
        await write(path, SECOND)
        assert list(read(path)) == [FIRST, SECOND]


@pytest.mark.parametrize("end", [b"\0" * 4096, b'{"type":"no' + b"\0" * 100, b"\0\n\0\n", b'{"a":\0}\n{"b":1}\n'])
async def test_what_a_power_loss_leaves_at_the_end_is_cut_off(path: Path, end: bytes) -> None:
    await write(path, FIRST)
    path.write_bytes(path.read_bytes() + end)
    assert list(read(path)) == [FIRST]
    await write(path, SECOND)
    assert list(read(path)) == [FIRST, SECOND]


async def test_a_line_that_is_no_event_is_named(path: Path) -> None:
    await write(path, FIRST)
    path.write_bytes(path.read_bytes() + b'{"type":"unheard.of"}\n' + path.read_bytes())
    with pytest.raises(JournalError, match="line 2 is not an event"):
        list(read(path))


async def test_two_processes_do_not_write_one_journal(path: Path) -> None:
    with Journal(path), pytest.raises(ConfigError, match="Another process is at work"):
        Journal(path)
    await write(path, FIRST)
    assert list(read(path)) == [FIRST]


async def test_events_that_wait_for_the_disk_at_once_are_all_there_in_order(path: Path) -> None:
    events = [ToolStarted(turn=1, id=str(number), name="Read", input={}) for number in range(50)]
    told: list[Event] = []
    with Journal(path, (told.append,)) as journal:
        await asyncio.gather(*(journal.append(event) for event in events))
    assert list(read(path)) == events
    assert sorted(map(repr, told)) == sorted(map(repr, events))


@pytest.mark.bubblewrap
def test_a_full_disk_is_told_and_the_end_can_still_be_written(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    copy = tmp_path / "copy"
    line = f'"$1" -c "$2" {disk}/journal.jsonl && cp {disk}/journal.jsonl {copy} && ls -A {disk}'
    inside = ["bwrap", "--dev-bind", "/", "/", "--size", str(2 << 20), "--tmpfs", str(disk)]
    done = subprocess.run(
        [*inside, "sh", "-c", line, "sh", sys.executable, FULL],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written, *left = done.stdout.split()
    events = list(read(copy))
    assert (len(events), left) == (int(written) + 1, ["journal.jsonl"])
    assert int(written) > 500
    assert events[-1].model_dump(include={"text"}) == {"text": "the end"}


async def test_a_file_that_may_not_grow_is_a_full_disk_with_its_own_exit_code(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(path) as journal:
        await journal.append(FIRST)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
        try:
            with pytest.raises(DiskFull, match="The disk is full") as raised:
                await journal.append(SECOND)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert raised.value.exit_code is ExitCode.LIMIT
        await journal.append(SECOND)
    assert list(read(path)) == [FIRST, SECOND]
