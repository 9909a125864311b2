"""When a mark counts: what is new is looked at again after the clock of files has moved on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from dockwright.sandbox.runner.marks import TICK_SECONDS, Facts, mark_of


async def mark(folder: Path, found: Facts, write_after: float | None = None) -> int | None:
    """That of a folder in which a file is written, in place and with its size kept, so many seconds later."""
    before = {str(folder): found}

    async def write() -> None:
        if write_after is not None:
            await asyncio.sleep(write_after)
            (folder / "x").write_bytes(b"2")

    made, _ = await asyncio.gather(
        mark_of({"path": str(folder), "but": "", "most": 10}, before, asyncio.sleep), write()
    )
    found |= before.get(str(folder), {})
    return made


async def test_a_change_right_after_the_look_is_seen_before_the_mark_is_given(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    found: Facts = {}
    assert await mark(tmp_path, found, write_after=0) is None
    assert found == {}
    assert await mark(tmp_path, found) is not None


async def test_what_was_found_before_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"1")
    found: Facts = {}
    first = await mark(tmp_path, found)
    again = await mark(tmp_path, found, write_after=TICK_SECONDS * 3 / 4)
    assert first == again is not None
    assert await mark(tmp_path, found) not in (None, first)
