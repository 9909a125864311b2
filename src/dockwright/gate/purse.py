"""Money that many calls spend from at once and never overspend: reserved before each call, settled after it.

A call that must wait for money waits until others have settled; only where nothing is held any more is it refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dockwright.errors import LimitReached

_DUST = 1e-9  # what sums of prices differ by


@dataclass(frozen=True, eq=False)
class Hold:
    """`usd` are reserved for a call that may ask for `tokens` of output."""

    usd: float
    tokens: int = 0


class Purse:
    """`cap` is in US dollars, None for no cap; it may be changed at any time. `note` is told of each change of what a
    hold stands for, under a number of its own, so that a killed process leaves an account."""

    def __init__(
        self, cap: float | None, spent: float = 0.0, *, what: str = "limit",
        note: Callable[[int, float], None] = lambda number, usd: None,
    ) -> None:  # fmt: skip
        self._cap, self.spent, self.what = cap, spent, what
        self.empty = False
        self._note = note
        self._numbers: dict[Hold, int] = {}
        self._last = 0
        self._changed = asyncio.Event()

    @property
    def cap(self) -> float | None:
        return self._cap

    @cap.setter
    def cap(self, cap: float | None) -> None:
        self._cap, self.empty = cap, False
        self._wake()

    @property
    def reserved(self) -> float:
        return sum(hold.usd for hold in self._numbers)

    async def reserve(self, given: float, each: float, tokens: int, fewest: int) -> Hold:
        """Set aside `given` dollars and `each` for every token of an answer of at most `tokens`; of fewer, but not
        less than `fewest`, where that is all the money there is. Raises LimitReached where it is not enough."""
        while True:
            left = float("inf") if self._cap is None else self._cap - self.spent - self.reserved - _DUST
            fit = tokens if given + each * tokens <= left else int((left - given) / each) if each > 0 else 0
            if fit >= tokens or (not self._numbers and fit >= fewest):
                return self._hold(Hold(given + each * min(fit, tokens), min(fit, tokens)))
            if not self._numbers:
                self.empty = True
                raise LimitReached(
                    f"The {self.what} of ${self._cap:g} was reached: ${self.spent:.4f} are spent, and the next call "
                    f"may cost ${given + each * fewest:.4f}. What was done so far is kept; go on with a higher limit."
                )
            self._changed.clear()
            await self._changed.wait()

    def settle(self, hold: Hold, usd: float) -> None:
        """The call is over and has cost this much; what was held for it is free again."""
        number = self._numbers.pop(hold, None)
        if number is None and usd:
            self._last += 1
            number = self._last
        if number is not None:
            self.spent += usd
            self._note(number, usd)
        self._wake()

    def _hold(self, hold: Hold) -> Hold:
        self._last += 1
        self._numbers[hold] = self._last
        self._note(self._last, hold.usd)
        return hold

    def _wake(self) -> None:
        self._changed.set()


class _Line(BaseModel):
    call: str
    usd: float


@dataclass
class Account:
    """What was spent, in a file that outlives the process: a line for each hold and for its end, the last one counts.
    A call that was under way when the process was killed stays in it with all that it could have cost."""

    path: Path
    spent: float = field(init=False)

    def __post_init__(self) -> None:
        lines: dict[str, float] = {}
        for line in self.path.read_bytes().splitlines() if self.path.exists() else ():
            try:
                parsed = _Line.model_validate_json(line)
            except ValidationError:  # torn by a crash
                continue
            lines[parsed.call] = parsed.usd
        self.spent = sum(lines.values())
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._run = os.urandom(4).hex()

    def note(self, number: int, usd: float) -> None:
        line = _Line(call=f"{self._run}-{number}", usd=usd).model_dump_json()
        os.write(self._fd, f"{line}\n".encode())

    def close(self) -> None:
        os.close(self._fd)
