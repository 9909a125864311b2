"""How many requests the model API gets at once: more while it answers, half as many when it turns one away.

A request that was turned away is not a failure: its task waits here with the others until the API takes requests again.
Additive increase and multiplicative decrease, as TCP does it (RFC 5681), with its slow start.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from dockwright.errors import ModelError

_START, _MOST = 20.0, 512.0
_LONGEST_BACKOFF = 32.0
_KINDS = ("requests", "tokens", "input-tokens", "output-tokens")


class Pace:
    """A lane for each model, because that is what the API counts by. `patience` is how many seconds it may turn
    everything away, `backoff` the first pause where it does not say how long."""

    def __init__(self, *, start: float = _START, patience: float = 1800.0, backoff: float = 1.0) -> None:
        self._start, self._patience, self._backoff = start, patience, backoff
        self.lanes: dict[str, Lane] = {}

    def lane(self, model: str) -> Lane:
        if model not in self.lanes:
            self.lanes[model] = Lane(model, self._start, self._patience, self._backoff)
        return self.lanes[model]


class Lane:
    """`limit` is how many requests may be under way, `under_way` how many are. `paused_until` is in monotonic time."""

    def __init__(self, model: str, start: float, patience: float, backoff: float) -> None:
        self.limit, self.under_way, self.paused_until = start, 0, 0.0
        self._model, self._patience, self._backoff = model, patience, backoff
        self._growing, self._strikes = True, 0
        self._turned_away_since = self._last_cut = 0.0
        self._changed = asyncio.Event()

    @property
    def is_paused(self) -> bool:
        return self._strikes > 0

    async def enter(self) -> float:
        """Wait for a place; returns when it was given. Raises ModelError where the API takes nothing for too long."""
        while True:
            now = time.monotonic()
            if self._strikes and now - self._turned_away_since > self._patience:
                raise ModelError(
                    f"The model API has turned {self._model} away for {self._patience / 60:g} minutes. "
                    "What was done so far is kept; try again later."
                )
            wait = self.paused_until - now
            if wait <= 0 and self.under_way < (1 if self._strikes else int(self.limit)):  # after a pause one tries
                self.under_way += 1
                return now
            self._changed.clear()
            try:
                async with asyncio.timeout(wait if wait > 0 else self._patience if self._strikes else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def leave(
        self, began: float, turned_away: float | None, headers: Mapping[str, str] | None, *, answered: bool
    ) -> None:
        """A request is over. `turned_away` is how many seconds the API asks to wait, None where it took the request."""
        self.under_way -= 1
        now = time.monotonic()
        if turned_away is not None:
            self._slow_down(began, now, turned_away)
        elif answered:
            self._strikes = 0
            self.limit = min(self.limit + (1.0 if self._growing else 1.0 / self.limit), _MOST)
        if headers is not None:
            self.paused_until = max(self.paused_until, now + min(_used_up(headers), self._patience))
        self._changed.set()

    def _slow_down(self, began: float, now: float, asked: float) -> None:
        if not self._strikes:
            self._turned_away_since = now
        if began >= self._last_cut:  # what was sent before the last cut says nothing about the pace since
            self.limit = max(1.0, min(self.limit, self.under_way + 1) / 2)
            self._last_cut = now
            self._growing = False
            self._strikes += 1
        pause = min(self._backoff * 2.0 ** (self._strikes - 1), _LONGEST_BACKOFF) * random.uniform(0.75, 1.0)  # noqa: S311
        self.paused_until = max(self.paused_until, now + min(asked or pause, self._patience))


def _used_up(headers: Mapping[str, str]) -> float:
    """Seconds until the API takes requests again, by its rate limit headers; 0 where nothing is used up."""
    return max((_until(headers.get(f"anthropic-ratelimit-{kind}-reset", "")) for kind in _KINDS
                if headers.get(f"anthropic-ratelimit-{kind}-remaining") == "0"), default=0.0)  # fmt: skip


def _until(moment: str) -> float:
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    return max((at - datetime.now(UTC)).total_seconds(), 0.0) if at.tzinfo else 0.0
