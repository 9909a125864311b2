"""What is half removed when the process ends is left behind, so whoever is cancelled over a removal waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

_SECONDS = 5.0


async def in_full(closing: Coroutine[Any, Any, None]) -> None:
    """Await it; where that is cancelled, some seconds more, and then be cancelled."""
    task = asyncio.ensure_future(closing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_SECONDS)
        raise
