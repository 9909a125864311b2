"""Keeps an engine from being asked too much at once, and from being asked at all while it does not answer.

Engines start and remove a few containers at a time well and many badly. After some failures in a row nothing is started
until the engine answers again; whoever waits for that for too long is told so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType

from dockwright.errors import ConfigError, SandboxError
from dockwright.sandbox.engine import connect, in_thread

_AT_ONCE = 6
_FAILURES = 3
_LONGEST_PAUSE = 15.0
_PROBE_SECONDS = 5


class Guard:
    """Held while an engine starts something, and `ending` while it removes something, which waits for nothing but its
    turn. `at_once` may hold each. `address` is where the engine is, None for that of the docker command line. Where it
    is away whoever comes is told so, or if `waits` is kept for up to `patience` seconds. `probe` asks whether it is."""

    def __init__(
        self, at_once: int = _AT_ONCE, *, address: str | None = None, waits: bool = True, patience: float = 600.0,
        pause: float = 1.0, probe: Callable[[], Awaitable[None]] | None = None,
    ) -> None:  # fmt: skip
        self.address, self.connect = address, partial(connect, address=address)
        self._places, self.ending = asyncio.Semaphore(at_once), asyncio.Semaphore(at_once)
        self._waits, self._patience, self._pause = waits, patience, pause
        self._probe = probe or self._answers
        self._failures, self._away_since = 0, 0.0
        self._asking = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether nothing is let through, as of a circuit breaker."""
        return self._failures >= _FAILURES

    async def __aenter__(self) -> None:
        if self.is_open:
            await (self.ready() if self._waits else self._probe())
        await self._places.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._places.release()
        if isinstance(error, SandboxError) and not isinstance(error, ConfigError):
            self._failures += 1
        elif error is None:
            self._failures = 0

    async def ready(self) -> None:
        """Wait until the engine answers. Raises SandboxError where it has been away for too long."""
        async with self._asking:  # one asks for all
            await self._until_it_answers()

    async def _answers(self) -> None:
        client = await in_thread(lambda: self.connect(_PROBE_SECONDS))
        client.close()

    async def _until_it_answers(self) -> None:
        self._away_since = self._away_since or time.monotonic()
        until = self._away_since + self._patience  # counted once, not for each that waits
        pause = self._pause
        while True:
            try:
                await self._probe()
            except SandboxError as error:
                if time.monotonic() + pause > until:
                    raise SandboxError(
                        f"The engine has not answered for {time.monotonic() - self._away_since:.0f} s. {error}"
                    ) from error
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
            else:
                self._failures, self._away_since = 0, 0.0
                return
