"""What we add to a request as a conversation grows: turns around the 100th and the 1,000th, beside merely encoding and
sending the same bodies with the SDK. The server's time is on both sides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

from anthropic import AsyncAnthropic

from dockwright.config import ModelSettings
from dockwright.events import Answered, Event, Prompted, ToolFinished, ToolStarted, TurnStarted, Usage
from dockwright.journal import Journal
from dockwright.model import Model
from dockwright.run import Outcome
from dockwright.run.moments import Moments
from dockwright.sandbox import Sandbox
from dockwright.session import Session
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use
from dockwright.tools.base import Tool, ToolContext, ToolResult

TURNS = 12  # measured; the first one folds what was before
PLACES = (100, 1000)


class Look(Tool):
    """Read something."""

    read_only: ClassVar[bool] = True
    path: str

    async def run(self, ctx: ToolContext) -> ToolResult:
        return ToolResult(f"what is in {self.path}\n" * 20)


def past(turns: int) -> Iterator[Event]:
    """The events of a session so far."""
    yield Prompted(content=({"type": "text", "text": "Go."},))
    for turn in range(1, turns + 1):
        call = tool_use("Look", {"path": f"{turn}.py"}, id=f"toolu_{turn}")
        yield TurnStarted(turn=turn)
        yield Answered(turn=turn, id=f"msg_{turn}", model="m", content=(call,), stop_reason="tool_use", usage=Usage(),
                       cost=0.0, seconds=0.1)  # fmt: skip
        yield ToolStarted(turn=turn, id=call["id"], name="Look", input=call["input"])
        result = f"what is in {turn}.py\n" * 20
        yield ToolFinished(turn=turn, id=call["id"], name="Look", content=result, is_error=False, seconds=0.1)


async def around(turn: int, folder: Path) -> tuple[float, float]:
    """Seconds for a turn of a session that has so many, and for sending the same with the SDK alone."""
    before = turn - TURNS // 2
    new = [Turn([tool_use("Look", {"path": f"new{n}.py"}, id=f"new_{n}")]) for n in range(TURNS)]
    events = [*past(before)]
    async with ScriptedApi([*["" for _ in range(before)], *new, "Done."]) as api:
        settings = ModelSettings(base_url=api.url, name="claude-sonnet-5-5", context_window=10**9)
        arrived: list[float] = []
        clock = lambda event: arrived.append(time.perf_counter()) if isinstance(event, TurnStarted) else None  # noqa: E731
        sinks = (Outcome(events).take, Moments(events).add, clock)
        with Journal(folder / f"{turn}.jsonl", sinks) as journal:
            async with Model(settings) as model:
                context = ToolContext(cast(Sandbox, None))
                session = Session(model, {"Look": Look}, context, journal, system=(), events=events)
                await session.ask(None)
        bodies: list[Any] = [dict(request.body) for request in api.requests[1:-1]]
        ours = (arrived[-1] - arrived[1]) / (len(arrived) - 2)
        async with AsyncAnthropic(base_url=api.url, api_key="none", max_retries=0) as client:
            began = time.perf_counter()
            for body in bodies:
                async for _ in await client.messages.create(**body):
                    pass
            theirs = (time.perf_counter() - began) / len(bodies)
    return ours, theirs


async def growth(folder: Path) -> None:
    print(f"\n{'a turn of a long session':<34} {'ours':>12} {'the SDK':>12}")
    for turn in PLACES:
        ours, theirs = await around(turn, folder)
        both = f"{ours * 1000:9.2f} ms {theirs * 1000:9.2f} ms"
        print(f"{f'around turn {turn}':<34} {both}   ratio {ours / theirs:<9.2f} (aim: the same for both)")


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as name:
        asyncio.run(growth(Path(name)))
