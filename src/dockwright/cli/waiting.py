"""From the synchronous command line into asyncio, and out again at a signal."""

from __future__ import annotations

import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


def wait_for(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end; a signal cancels, which ends the work in good order and keeps it, a second one at once."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def cancellable() -> _T:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
        task = asyncio.ensure_future(work)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await task

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
