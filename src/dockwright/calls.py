"""The tool calls of one answer: started while it still comes in, run in stages, each journalled before it acts.

Read-only calls run side by side; any other call waits for all before it and holds up all after it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from pydantic import ValidationError

from dockwright.errors import ToolError
from dockwright.events import (
    Answered,
    AnswerStarted,
    Event,
    JsonObject,
    ModelRetried,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from dockwright.incoming import UNPARSED, encodable
from dockwright.journal import Journal
from dockwright.model import Answer
from dockwright.tools.base import Refused, Tool, ToolContext, ToolResult, error_result

_SHOWN = 80


@dataclass
class _Call:
    id: str
    name: str
    input: JsonObject
    began: float | None = None
    finished: bool = False


class Calls:
    """`take` is told of each complete block, `end` of the whole answer. The tasks of the group are the calls."""

    def __init__(
        self,
        turn: int,
        tools: Mapping[str, type[Tool]],
        context: ToolContext,
        journal: Journal,
        after_change: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        self._turn, self._tools, self._context, self._journal = turn, tools, context, journal
        self._after_change = after_change
        self._blocks: list[JsonObject] = []
        self._calls: list[_Call] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._barrier: tuple[asyncio.Task[None], ...] = ()
        self._known = False  # whether the journal has the answer, or the beginning of it, ahead of what comes next

    def take(self, block: JsonObject, group: asyncio.TaskGroup) -> None:
        self._blocks.append(block)
        if block["type"] != "tool_use":
            return
        call = _Call(str(block["id"]), str(block["name"]), cast(JsonObject, block["input"]))
        self._calls.append(call)
        tool = self._tools.get(call.name)
        if tool is None or tool.read_only:
            self._tasks.append(group.create_task(self._run(call, self._barrier)))
        else:
            task = group.create_task(self._run(call, tuple(self._tasks)))
            self._tasks.append(task)
            self._barrier = (task,)

    def take_left(self, blocks: Iterable[JsonObject], group: asyncio.TaskGroup) -> None:
        """Calls of an answer that the journal has, which were never started."""
        self._known = True
        for block in blocks:
            self.take(block, group)

    async def start_over(self, attempt: int, reason: str, delay: float) -> None:
        """The message will be sent anew: its blocks so far, none of them a call, do not count."""
        self._blocks.clear()
        await append(self._journal, ModelRetried(turn=self._turn, attempt=attempt, reason=reason, delay=delay))

    async def end(self, answer: Answer) -> Answered:
        answered = Answered(
            turn=self._turn,
            id=answer.id,
            model=answer.model,
            content=answer.content,
            stop_reason=answer.stop_reason,
            usage=answer.usage,
            cost=answer.cost,
            seconds=answer.seconds,
        )
        self._known = True
        await append(self._journal, answered)
        return answered

    async def interrupt(self, why: str) -> None:
        """Give the calls that had started and were stopped their results."""
        for call in self._calls:
            if call.began is not None and not call.finished:
                await self._finish(call, ToolResult(why, is_error=True))

    async def _run(self, call: _Call, after: tuple[asyncio.Task[None], ...]) -> None:
        if after:
            await asyncio.wait(after)
        if not self._known:
            self._known = True
            self._journal.show(AnswerStarted(turn=self._turn, content=tuple(self._blocks)))
        call.began = time.monotonic()
        await append(self._journal, ToolStarted(turn=self._turn, id=call.id, name=call.name, input=call.input))
        tool = self._tools.get(call.name)
        alone = tool is not None and not tool.read_only
        show = lambda text: self._journal.show(ToolOutput(id=call.id, text=text))  # noqa: E731
        self._context.on_output = show if alone else None
        result = await carry_out(call.id, call.name, call.input, self._tools, self._context)
        if self._after_change and alone:
            await self._after_change(self._turn)
        await self._finish(call, result)

    async def _finish(self, call: _Call, result: ToolResult) -> None:
        call.finished = True
        content = result.text if result.is_error or not result.blocks else result.blocks
        await append(
            self._journal,
            ToolFinished(
                turn=self._turn,
                id=call.id,
                name=call.name,
                content=encodable(content),
                is_error=result.is_error,
                details=dict(result.details),
                context=self._context.news(),
                seconds=time.monotonic() - (call.began or time.monotonic()),
            ),
        )


async def carry_out(
    id: str, name: str, given: JsonObject, tools: Mapping[str, type[Tool]], context: ToolContext  # noqa: A002
) -> ToolResult:  # fmt: skip
    """What came of a call as the model made it, with what it has to know of the network and the services; every failure
    that it should read of is a result."""
    tool, asked = tools.get(name), context.asked
    alone = tool is not None and not tool.read_only  # so what is asked of the network now, this call asks
    asked.call = id if alone else None
    try:
        result = await _act(name, given, tool, context)
    except (ToolError, OSError, ValidationError) as error:
        result = error_result(error)
    finally:
        asked.call = None
    if alone and (denied := asked.untold()):
        result = replace(result, text="\n".join((result.text, *denied)))
    if context.word and (word := await context.word()):
        said: JsonObject = {"type": "text", "text": word}
        blocks = (*result.blocks, said) if result.blocks else ()
        result = replace(result, text=f"{result.text}\n{word}", blocks=blocks)
    return result


async def _act(name: str, given: JsonObject, tool: type[Tool] | None, context: ToolContext) -> ToolResult:
    if UNPARSED in given:
        sent = str(given[UNPARSED])
        raise Refused(
            f"InputValidationError: {name} was called with input that is not a JSON object, or was cut off by "
            f"the limit on output tokens. Nothing was run. You sent (first {_SHOWN} characters): {sent[:_SHOWN]}"
        )
    if tool is None:
        raise Refused(f"Error: No such tool available: {name}")
    return await tool.model_validate(given).run(context)


async def append(journal: Journal, event: Event) -> None:
    """Append, also when cancelled meanwhile: what is on disk must be known to everybody."""
    writing = asyncio.create_task(journal.append(event))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await writing
        raise
