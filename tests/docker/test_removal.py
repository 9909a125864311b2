"""A sandbox is removed as a whole, however hurriedly its end is asked for."""

from __future__ import annotations

import asyncio

import pytest
from tests.conftest import new_place
from tests.e2e.running import leftovers

from dockwright.sandbox import open_sandbox


@pytest.mark.docker
async def test_a_cancellation_while_it_is_removed_waits_for_that() -> None:
    place = new_place("docker")
    is_open = asyncio.Event()

    async def work() -> None:
        async with open_sandbox(place):
            is_open.set()
            await asyncio.Event().wait()

    working = asyncio.create_task(work())
    await is_open.wait()
    for _ in range(2):
        working.cancel()
        await asyncio.sleep(0.01)
    with pytest.raises(asyncio.CancelledError):
        await working
    assert leftovers(place.id) == []
