"""What a request to the model API has to pass before it is sent: money first, then the pace that the API keeps up with.

Each task has a gate of its own; the pace and the purse of the batch behind it are shared. Without a cap nothing is
computed, so a gate costs nothing where nobody asked for one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from dockwright.events import Usage
from dockwright.gate.pace import Pace
from dockwright.gate.purse import Hold, Purse

Price = Callable[[Usage], float | None]
_IMAGE_TOKENS = 5000  # of one image, however few bytes it has
_HIDDEN_TOKENS = 1000  # what the API itself adds, as for the use of tools
_FEWEST_TOKENS = 2048  # an answer cut off earlier than that would be of no use


@dataclass
class Passage:
    """One request on its way. `max_tokens` is what it may ask for, less than it wanted where the money runs out.

    Whoever sends it says how it ended: `settle` with the cost of an answer, `turn_away` where the API was too busy,
    `refuse` where it took nothing and so charges nothing. A request that ends without a word may have been charged.
    """

    max_tokens: int
    uncharged: bool = True  # until it is sent
    cost: float | None = None
    usage: Usage | None = None
    busy: float | None = None
    headers: Mapping[str, str] | None = None

    def settle(self, usage: Usage, cost: float | None) -> None:
        self.usage, self.cost = usage, cost

    def turn_away(self, seconds: float) -> None:
        """`seconds` is how long the server asks to wait, 0 where it does not say."""
        self.busy = seconds

    def refuse(self) -> None:
        self.uncharged = True


class Gate:
    """What the requests of one task have to pass: its own purse, the purse of all, and the pace of all."""

    def __init__(self, pace: Pace | None, *purses: Purse) -> None:
        """Without a pace nothing is held up for it, and whoever is turned away has to wait by itself."""
        self.pace, self._purses = pace, purses
        self._known: dict[tuple[str, int], tuple[int, int]] = {}

    @asynccontextmanager
    async def passage(self, request: Mapping[str, Any], price: Price) -> AsyncIterator[Passage]:
        """Wait until the request may be sent. Raises LimitReached where the money is not enough for it, ModelError
        where the API turns everything away for too long."""
        model, wanted = str(request["model"]), int(request["max_tokens"])
        capped = [purse for purse in self._purses if purse.cap is not None]
        size, bound = self._measure(request) if capped else ((model, 0, 0), 0)
        async with AsyncExitStack() as held:
            passage = Passage(wanted)
            for purse in self._purses:
                hold = Hold(0.0)
                if purse.cap is not None and (costs := _costs(price, bound)) is not None:
                    hold = await purse.reserve(*costs, passage.max_tokens, min(_FEWEST_TOKENS, wanted))
                    passage.max_tokens = hold.tokens
                held.callback(_settle, purse, hold, passage)
            if self.pace is None:
                passage.uncharged = False
                yield passage
            else:
                lane = self.pace.lane(model)
                began = await lane.enter()
                passage.uncharged = False
                try:
                    yield passage
                finally:
                    lane.leave(began, passage.busy, passage.headers, answered=passage.usage is not None)
            if passage.usage is not None and capped:
                self._known[size[:2]] = (size[2], passage.usage.read)

    def _measure(self, request: Mapping[str, Any]) -> tuple[tuple[str, int, int], int]:
        """What tells requests of one conversation apart from others, with the bytes of its messages; and the most
        tokens that the request can have: those that the last one had and a token for each byte since."""
        messages = json.dumps(request["messages"])
        rest = len(json.dumps([request.get("system"), request.get("tools")]))
        images = messages.count('"type": "image"')
        size = (str(request["model"]), rest, len(messages))
        bound = rest + len(messages) + _HIDDEN_TOKENS
        before = self._known.get(size[:2])
        if before is not None and before[0] <= size[2]:
            bound = min(bound, before[1] + size[2] - before[0] + _HIDDEN_TOKENS)
        return size, bound + images * _IMAGE_TOKENS


def _costs(price: Price, tokens: int) -> tuple[float, float] | None:
    """The most that the input can cost, and the price of one token of the answer; None where no price is known."""
    plain, written = price(Usage(input_tokens=tokens)), price(Usage(cache_creation_input_tokens=tokens))
    million = price(Usage(input_tokens=tokens, output_tokens=1_000_000))
    if plain is None or written is None or million is None:
        return None
    return max(plain, written), (million - plain) / 1_000_000


def _settle(purse: Purse, hold: Hold, passage: Passage) -> None:
    if passage.cost is not None:
        purse.settle(hold, passage.cost)
    else:
        purse.settle(hold, 0.0 if passage.uncharged else hold.usd)
