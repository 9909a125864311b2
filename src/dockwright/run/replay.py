"""A run is played again from its journal: no model is asked, the calls of its answers act anew in a fresh sandbox.

The run's folder is all it takes, and is only read. What a call results in is compared with what it did then; what
cannot be equal is left out of that by `normal`.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

from pydantic import JsonValue

from dockwright.agent import resolve_tools
from dockwright.calls import carry_out
from dockwright.config import Config
from dockwright.errors import ConfigError
from dockwright.events import (
    Answered,
    AnswerStarted,
    CheckFinished,
    CheckpointMade,
    Delivered,
    Event,
    JsonObject,
    NetworkAsked,
    Noted,
    Restored,
    RunFinished,
    RunStarted,
    SandboxStarted,
    ToolFinished,
    ToolStarted,
)
from dockwright.history import UNFINISHED
from dockwright.journal import Journal, Sink, read
from dockwright.report.evidence import Ledger
from dockwright.run.bench import Bench, Host, open_bench
from dockwright.run.fork import share_kept
from dockwright.run.moments import Moments
from dockwright.run.normal import normal
from dockwright.run.order import load_order
from dockwright.run.preparing import prepared
from dockwright.run.work import Task, checkpoint_of, new_run_id, restore, tools_of
from dockwright.session import BY_USER
from dockwright.tools import TOOLS
from dockwright.tools.base import Tool, ToolContext, ToolResult
from dockwright.workspace import Workspace

_NOT_SHOWN = (SandboxStarted, CheckpointMade, NetworkAsked, Delivered, CheckFinished, Noted, RunFinished)
_SHOWN = 120
_GIVEN = ("job", "output_file")  # details that name what the sandbox gave out


@dataclass(frozen=True)
class Divergence:
    """What one call resulted in otherwise: `field` is exit, error, blocks or a line; `was` is what the journal has."""

    turn: int
    tool: str
    field: str
    was: JsonValue
    now: JsonValue

    def __str__(self) -> str:
        if self.field.startswith("line"):
            return f"turn {self.turn}: {self.tool}, {self.field}: {_shown(self.was)} → {_shown(self.now)}"
        return f"turn {self.turn}: {self.tool} {self.field} {self.was} → {self.now}"


async def replay(folder: Path, host: Host, sinks: Sequence[Sink] = ()) -> tuple[Divergence, ...]:
    """Play the run in `folder` and say where it went otherwise. Raises ConfigError where it never began, SandboxError.

    Its proof is not played: `dockwright run --check` is there for that."""
    events = await asyncio.to_thread(lambda: tuple(read(folder / "journal.jsonl")))
    if not any(isinstance(event, RunStarted) for event in events):
        raise ConfigError(f"The run in {folder} ended before it began; there is nothing to play.")
    task, config = load_order(folder)
    with tempfile.TemporaryDirectory(prefix=".replay-", dir=folder) as name:
        state = Path(name)
        await asyncio.to_thread(share_kept, folder, state)
        with Journal(state / "journal.jsonl", tuple(sinks), host.redaction) as journal:
            workspace = replace(Workspace.load(folder), state=state)
            async with _Stage(task, config, host, journal, workspace, events) as stage:
                for event in events:
                    await stage.play(event)
                return tuple(stage.divergences)


@dataclass
class _Stage:
    """Where the calls act, and what is known of the run so far."""

    task: Task
    config: Config
    host: Host
    journal: Journal
    workspace: Workspace
    events: tuple[Event, ...]
    divergences: list[Divergence] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._told: list[Event] = []  # what the claims of a report are looked up in
        self.journal.sinks = (self._told.append, *self.journal.sinks)
        wanted = resolve_tools(self.task.agent, tuple(TOOLS))
        self._tools = tools_of(self.task, wanted, lambda: Ledger.of(self._told))[0]
        self._calls = {str(block["id"]): block for block in _blocks(self.events)}
        self._finished = {event.id: event for event in self.events if isinstance(event, ToolFinished)}
        self._moments = Moments()
        self._names: dict[str, str] = {}  # what was given out then -> now
        self._place = AsyncExitStack()
        self._sandbox: Bench | None = None
        self._context: ToolContext | None = None

    async def __aenter__(self) -> _Stage:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._place.aclose()

    async def play(self, event: Event) -> None:
        self._moments.add(event)
        if not isinstance(event, (*_NOT_SHOWN, ToolFinished)):
            self.journal.tell(event)
        match event:
            case SandboxStarted(purpose="work") if self._sandbox is None or event.found == "nothing":
                await self._open(event)
            case Restored():
                await self._restore()
            case ToolStarted():
                await self._call(event)

    async def _open(self, started: SandboxStarted) -> None:
        """A sandbox as the run had it; where it had lost one, what it had kept by then is put into the new one."""
        first = self._sandbox is None
        await self._place.aclose()
        settings = self.config.sandbox.model_copy(update={"backend": started.backend})
        settings = await prepared(settings, self.host, self.workspace, self.journal)
        bench = open_bench(settings, self.host, f"{self.task.run}-{new_run_id()}", "work", self.journal)
        self._sandbox = await self._place.enter_async_context(bench)
        services, rules = self._sandbox.services, self.task.agent.rules
        word = services.word if services else None
        self._context = ToolContext(sandbox=self._sandbox, rules=rules, asked=self._sandbox.asked, word=word)
        self.workspace.last = await checkpoint_of(
            self.workspace, replace(self._moments.now, commit=self.workspace.base)
        )
        await self.workspace.enter(self._sandbox)
        if not first:
            await self._restore()

    async def _restore(self) -> None:
        """The files as the run had kept them; without a sandbox it was taken back before it was taken up again."""
        if self._sandbox and self._context:
            now = self._moments.now
            await restore(self.workspace, self._sandbox, self.journal, now, self._sandbox.services)
            self._context.put_back(now.cwd, now.seen)

    async def _call(self, started: ToolStarted) -> None:
        was = self._finished.get(started.id)
        if was is None or (was.is_error and was.content in (UNFINISHED, BY_USER)):
            if was is not None:
                self.journal.tell(was)
            text = f"Turn {started.turn}: {started.name} was interrupted in the run, so it is not played."
            self.journal.tell(Noted(text=text))
            return
        block = self._calls.get(started.id, {"name": started.name, "input": started.input})
        began = time.monotonic()
        result = await self._result(str(block["name"]), block["input"], was)
        content = result.text if result.is_error or not result.blocks else result.blocks
        self.journal.tell(
            was.model_copy(
                update={
                    "content": content, "is_error": result.is_error, "details": dict(result.details),
                    "seconds": time.monotonic() - began,
                }
            )
        )  # fmt: skip
        for divergence in self._differences(was, result, content):
            self.divergences.append(divergence)
            self.journal.tell(Noted(level="warning", text=f"diverged at {divergence}"))

    async def _result(self, name: str, given: JsonValue, was: ToolFinished) -> ToolResult:
        """What comes of a call now. What the web said is taken from the journal: it is not ours to play again."""
        if name == "WebSearch" or self._context is None:
            text, blocks = (was.content, ()) if isinstance(was.content, str) else ("", was.content)
            return ToolResult(text, was.is_error, was.details, blocks)
        tool: type[Tool] | None = self._tools.get(name)
        show = None if tool is None or tool.read_only else lambda text: None
        self._context.on_output = show
        result = await carry_out(was.id, name, _renamed(given, self._names), self._tools, self._context)
        for detail in _GIVEN:
            then, now = was.details.get(detail), result.details.get(detail)
            if isinstance(then, str) and isinstance(now, str) and then and now:
                self._names[then] = now
        return result

    def _differences(
        self, was: ToolFinished, now: ToolResult, content: str | tuple[JsonObject, ...]
    ) -> Iterator[Divergence]:
        """At most the exit code, or else whether it failed, and the first line that differs."""
        codes = was.details.get("exit_code"), now.details.get("exit_code")
        if codes[0] != codes[1]:
            yield Divergence(was.turn, was.name, "exit", *codes)
        elif was.is_error != now.is_error:
            yield Divergence(was.turn, was.name, "error", was.is_error, now.is_error)
        if not (isinstance(was.content, str) and isinstance(content, str)):
            if was.content != content:
                yield Divergence(was.turn, was.name, "blocks", "(as recorded)", "(others)")
            return
        given = enumerate(self._names.items())
        words = {name: f"<name {number}>" for number, pair in given for name in pair}
        then, lines = normal(was.content, words), normal(content, words)
        if was.name in ("Glob", "Grep") and sorted(then) == sorted(lines):  # files come newest first
            return
        pairs = enumerate(zip_longest(then, lines), start=1)
        if found := next(((number, one, other) for number, (one, other) in pairs if one != other), None):
            yield Divergence(was.turn, was.name, f"line {found[0]}", found[1], found[2])


def _blocks(events: Sequence[Event]) -> Iterator[JsonObject]:
    """The calls of the answers; those of a whole one come after those of its beginning."""
    for event in events:
        if isinstance(event, AnswerStarted | Answered):
            yield from (block for block in event.content if block["type"] == "tool_use")


def _renamed(given: JsonValue, names: Mapping[str, str]) -> JsonObject:
    """The input of a call with the names that were given out this time."""
    text = json.dumps(given)
    for then, now in names.items():
        text = text.replace(then, now)
    renamed = json.loads(text)
    return renamed if isinstance(renamed, dict) else {}


def _shown(line: JsonValue) -> str:
    text = repr(line) if line is not None else "(nothing)"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
