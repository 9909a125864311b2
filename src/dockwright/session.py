"""The loop: ask the model, run the calls it makes, send the results back, until it ends its turn.

The blocks of an answer decide what happens next, not its stop reason. Every step is journalled before it is taken, and
the history that is sent is a fold over the journal, so stopping anywhere leaves a conversation that can go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

from dockwright.calls import Calls, append
from dockwright.compaction import compact, is_near_the_end
from dockwright.config import Limits
from dockwright.errors import ConfigError, ContextFull, LimitReached, ModelRefused
from dockwright.events import Answered, Event, JsonObject, Prompted, SessionStarted, TextDelta, TurnStarted, Usage
from dockwright.history import UNFINISHED, History, is_blank
from dockwright.incoming import encodable
from dockwright.journal import Journal
from dockwright.model import Answer, Model
from dockwright.tools.base import Tool, ToolContext

_T = TypeVar("_T")
BY_USER = "Interrupted by the user before it finished. What it had done by then stands."
_MOST_GO_ONS = 2
_NEAR = 0.8  # of a limit
_NEARS = "More than 80 % of the limit of {} is used. Finish what matters most, see that it works, and come to the end."
_GO_ON = "Your answer reached the limit on output tokens. Go on exactly where it stopped, in smaller steps."
_CUT = "The connection broke off after your last complete call. What you wrote after it was lost; go on from there."
_SILENT = "Your answer had no visible content. Go on with the task, or say what you have done and what is left."
_THINKING = ("thinking", "redacted_thinking")


class Session:
    """One conversation. What the model may call is exactly `tools`. One `ask` at a time.

    It follows its journal: what others append there, as a Restored, counts in its history too.
    """

    def __init__(
        self,
        model: Model,
        tools: Mapping[str, type[Tool]],
        context: ToolContext,
        journal: Journal,
        *,
        system: Sequence[JsonObject],
        limits: Limits | None = None,
        events: Iterable[Event] = (),
        after_change: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """`events` are those already in the journal, to go on after them. `after_change` is told the turn of each call
        that may have changed something, before its result is written down."""
        self.history = History(events)
        journal.sinks = (self.history.add, *journal.sinks)
        self.context = context
        self._model, self._tools, self._journal = model, tools, journal
        self._system, self._offers = tuple(system), tuple(tool.offer() for tool in tools.values())
        self._limits = limits or Limits()
        self._after_change = after_change
        self._seconds = 0.0
        self._warned = False

    async def ask(
        self, content: str | Sequence[JsonObject] | None, source: Literal["user", "harness"] = "user"
    ) -> Answered:
        """Say something to the model and let it work until it ends its turn; its last answer is returned. None is to go
        on where the conversation broke off.

        Raises LimitReached, ModelRefused, ModelError, SandboxLost, and CancelledError when cancelled. The history is
        legal after each of them, and another `ask` goes on.
        """
        await self._open()
        began = time.monotonic()
        left = None if self._limits.seconds is None else self._limits.seconds - self._seconds
        try:
            async with asyncio.timeout(left) as clock:
                if content is not None:
                    await self._prompt(content, source)
                return await self._converse(clock, None if content is not None else self.history.last_answer)
        except TimeoutError:
            if not clock.expired():
                raise
            raise LimitReached(_limit(f"{self._limits.seconds:g} seconds")) from None
        finally:
            self._seconds += time.monotonic() - began

    async def _open(self) -> None:
        await self._model.warm()
        if self._limits.money_usd is not None and self._model.price(Usage()) is None:
            raise ConfigError(
                f"A limit of ${self._limits.money_usd:g} was set, but the price of {self._model.name} is not known. "
                "Set a limit on turns or seconds in its place, or choose a model with a known price."
            )
        started = SessionStarted(model=self._model.name, system=self._system, tools=self._offers)
        before = self.history.started
        if before is None or started != before.model_copy(update={"at": started.at}):
            await append(self._journal, started)

    async def _prompt(self, content: str | Sequence[JsonObject], source: Literal["user", "harness"]) -> None:
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        await append(self._journal, Prompted(content=tuple(encodable(blocks)), source=source))

    async def _converse(self, clock: asyncio.Timeout, before: Answered | None) -> Answered:
        """`before` is an answer on which nothing was done yet, or not all."""
        nudges = 0
        while True:
            if before is None:
                await self._look_ahead(clock)
                answered = await self._turn_that_fits(clock)
            else:
                answered, before = before, None
                await self._call_left(answered, clock)
            if any(block["type"] == "tool_use" for block in answered.content):
                nudges = 0
                if answered.stop_reason == "cut":
                    await self._prompt(_CUT, "harness")
            elif answered.stop_reason == "max_tokens" and nudges < _MOST_GO_ONS:
                nudges += 1
                await self._prompt(_GO_ON, "harness")
            elif answered.stop_reason != "pause_turn":
                if nudges > 0 or _is_visible(answered):
                    return answered
                nudges += 1
                await self._prompt(_SILENT, "harness")

    async def _look_ahead(self, clock: asyncio.Timeout) -> None:
        """Stop at a limit, tell the model once when one is near, and make room where the window is nearly full."""
        limits, used = self._limits, list[tuple[float, str]]()
        if limits.turns is not None:
            used.append((self.history.turn / limits.turns, f"{limits.turns} turns"))
        if limits.money_usd is not None:
            used.append((self.history.cost / limits.money_usd, f"${limits.money_usd:g}"))
        if over := next((what for share, what in used if share >= 1), None):
            raise LimitReached(_limit(over))
        if limits.seconds is not None and (end := clock.when()):
            left = end - asyncio.get_running_loop().time()
            used.append((1 - left / limits.seconds, f"{limits.seconds:g} seconds"))
        if not self._warned and (near := next((what for share, what in used if share >= _NEAR), None)):
            self._warned = True
            await self._prompt(_NEARS.format(near), "harness")
        if is_near_the_end(self._model, self.history):
            await self._compact(overflown=False)

    async def _turn_that_fits(self, clock: asyncio.Timeout) -> Answered:
        try:
            return await self._turn(clock)
        except ContextFull:
            await self._compact(overflown=True)
            return await self._turn(clock)

    async def _compact(self, *, overflown: bool) -> None:
        made = await compact(self._model, self._system, self._offers, self.history, self.context, overflown=overflown)
        await append(self._journal, made)

    async def _turn(self, clock: asyncio.Timeout) -> Answered:
        number = self.history.turn + 1
        self._journal.show(TurnStarted(turn=number))
        calls = Calls(number, self._tools, self.context, self._journal, self._after_change)

        async def answer(group: asyncio.TaskGroup) -> Answered:
            answer = await self._model.answer(
                system=self._system,
                tools=self._offers,
                messages=self.history.messages(),
                on_delta=lambda kind, text: self._journal.show(TextDelta(kind=kind, text=text)),
                on_block=lambda block: calls.take(block, group),
                on_retry=calls.start_over,
                used_ids=self.history.used_ids,
            )
            answered = await calls.end(answer)
            _raise_for(answer)
            return answered

        return await self._until_all_ended(calls, answer, clock)

    async def _call_left(self, answered: Answered, clock: asyncio.Timeout) -> None:
        calls = Calls(answered.turn, self._tools, self.context, self._journal, self._after_change)

        async def take(group: asyncio.TaskGroup) -> None:
            calls.take_left(self.history.left(answered), group)

        await self._until_all_ended(calls, take, clock)

    async def _until_all_ended(
        self, calls: Calls, work: Callable[[asyncio.TaskGroup], Awaitable[_T]], clock: asyncio.Timeout
    ) -> _T:
        """Carry out the work and the calls that it starts; if it is stopped, those that had started get a result."""
        try:
            async with asyncio.TaskGroup() as group:
                done = await work(group)
        except asyncio.CancelledError:
            await calls.interrupt(UNFINISHED if clock.expired() else BY_USER)
            raise
        except BaseExceptionGroup as failures:
            await calls.interrupt(UNFINISHED)
            failure: BaseException = failures
        else:
            return done
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure


def _is_visible(answered: Answered) -> bool:
    return any(not is_blank(block) and block["type"] not in _THINKING for block in answered.content)


def _raise_for(answer: Answer) -> None:
    match answer.stop_reason:
        case "refusal":
            said = answer.stop_details.get("explanation") or answer.stop_details.get("category") or "it gave no reason"
            raise ModelRefused(
                f"The model refused to go on: {str(said).rstrip('.')}. Put the task in other words, or narrow it."
            )
        case "model_context_window_exceeded":
            raise ContextFull(
                "The conversation fills the context window of the model. "
                "Split the task, or start a new session on what was done so far."
            )


def _limit(what: str) -> str:
    return f"The limit of {what} was reached. What was done so far is kept; start again from it with a higher limit."
