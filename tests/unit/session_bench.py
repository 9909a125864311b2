"""A session over a real wire with small tools of its own; no sandbox is needed, because these do not use one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from pydantic import SecretStr

from dockwright.config import Limits, ModelSettings
from dockwright.errors import (
    SandboxLost,
    ToolError,
)
from dockwright.events import (
    Answered,
    AnswerStarted,
    Event,
    JsonObject,
    ToolFinished,
    ToolStarted,
)
from dockwright.history import History
from dockwright.journal import Journal, read
from dockwright.model import Model
from dockwright.sandbox import Sandbox
from dockwright.session import Session
from dockwright.testing.messages_rules import check_request
from dockwright.testing.scripted_api import Script, ScriptedApi, Turn, text, tool_use
from dockwright.tools.base import Tool, ToolContext, ToolResult

Kind = TypeVar("Kind", bound=Event)
SYSTEM: list[JsonObject] = [text("You are a test.")]


class Look(Tool):
    """Read something."""

    read_only: ClassVar[bool] = True
    path: str
    seconds: float = 0.0

    async def run(self, ctx: ToolContext) -> ToolResult:
        await asyncio.sleep(self.seconds)
        return ToolResult(f"saw {self.path}", details={"path": self.path})


class Do(Tool):
    """Change something."""

    what: str
    seconds: float = 0.0

    async def run(self, ctx: ToolContext) -> ToolResult:
        if ctx.on_output is not None:
            ctx.on_output(f"doing {self.what}")
        await asyncio.sleep(self.seconds)
        return ToolResult(f"did {self.what}")


class Fail(Tool):
    """Fail in a way of choice."""

    how: str

    async def run(self, ctx: ToolContext) -> ToolResult:
        raise {
            "tool": ToolError("The thing broke."),
            "os": FileNotFoundError(2, "No such file or directory", "a.txt"),
            "lost": SandboxLost("The container is gone: out of memory."),
            "bug": ZeroDivisionError("oops"),
        }[self.how]


class Show(Tool):
    """Return something that is not text."""

    read_only: ClassVar[bool] = True

    async def run(self, ctx: ToolContext) -> ToolResult:
        return ToolResult("ignored", blocks=({"type": "text", "text": "a picture"},))


TOOLS: Mapping[str, type[Tool]] = {tool.__name__: tool for tool in (Look, Do, Fail, Show)}


class Bench:
    """A session with its journal, the API behind it, and what sinks were shown."""

    def __init__(self, session: Session, api: ScriptedApi, path: Path, shown: list[Event]) -> None:
        self.session, self.api, self.path, self.shown = session, api, path, shown

    @property
    def events(self) -> list[Event]:
        return [*read(self.path)]

    def order(self) -> list[str]:
        return [_word(event) for event in self.events]

    def of(self, kind: type[Kind]) -> list[Kind]:
        return [event for event in self.events if isinstance(event, kind)]

    def sent(self) -> list[list[JsonObject]]:
        """The last message of each request after the first, without the cache marks."""
        last = [request.body["messages"][-1]["content"] for request in self.api.requests[1:]]
        return [
            [{name: block[name] for name in block if name != "cache_control"} for block in blocks] for blocks in last
        ]


def _word(event: Event) -> str:
    match event:
        case ToolStarted():
            return f"started {event.id}"
        case ToolFinished():
            return f"finished {event.id}"
        case Answered() | AnswerStarted():
            return f"{event.type} {len(event.content)}"
        case _:
            return event.type


@asynccontextmanager
async def bench(
    folder: Path,
    turns: Script,
    *,
    to_words: Mapping[str, Turn | str] | None = None,
    limits: Limits | None = None,
    resumed: bool = False,
    **more: Any,
) -> AsyncIterator[Bench]:
    shown: list[Event] = []
    path = folder / "journal.jsonl"
    known = [*read(path)] if resumed else []
    async with ScriptedApi(turns, to_words=to_words) as api:
        settings = {
            "base_url": api.url,
            "api_key": SecretStr("k"),
            "backoff_seconds": 0.001,
            "stall_seconds": 0.3,
            **more,
        }
        async with Model(ModelSettings(**settings)) as model:
            with Journal(path, (shown.append,)) as journal:
                context = ToolContext(cast(Sandbox, None))
                session = Session(model, TOOLS, context, journal, system=SYSTEM, limits=limits, events=known)
                yield Bench(session, api, path, shown)
                assert session.history.messages() == History(read(path)).messages()


def look(id: str, seconds: float = 0.0) -> JsonObject:  # noqa: A002
    return tool_use("Look", {"path": id, "seconds": seconds}, id=id)


def do(id: str, seconds: float = 0.0) -> JsonObject:  # noqa: A002
    return tool_use("Do", {"what": id, "seconds": seconds}, id=id)


def fail(id: str, how: str) -> JsonObject:  # noqa: A002
    return tool_use("Fail", {"how": how}, id=id)


def result(id: str, content: Any, *, error: bool = False) -> JsonObject:  # noqa: A002
    return {"type": "tool_result", "tool_use_id": id, "content": content} | ({"is_error": True} if error else {})


def assert_can_go_on(history: list[JsonObject]) -> None:
    """The API takes this history with a word of the user after it."""
    said = [*history]
    word = text("Go on.")
    if said and said[-1]["role"] == "user":
        said[-1] = {**said[-1], "content": [*cast(list[Any], said[-1]["content"]), word]}
    else:
        said.append({"role": "user", "content": [word]})
    check_request({"model": "m", "max_tokens": 1, "stream": True, "messages": said}, paused=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
