"""The loop over a real wire with small tools of its own; no sandbox is needed, because these tools do not use one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import pytest
from pydantic import SecretStr

from dockwright.config import Limits, ModelSettings
from dockwright.errors import (
    ConfigError,
    DockwrightError,
    ExitCode,
    LimitReached,
    ModelError,
    ModelRefused,
    SandboxLost,
    ToolError,
)
from dockwright.events import (
    Answered,
    AnswerStarted,
    Event,
    JsonObject,
    ModelRetried,
    Prompted,
    Restored,
    SessionStarted,
    ToolFinished,
    ToolOutput,
    ToolStarted,
)
from dockwright.history import NOT_STARTED, UNFINISHED, messages
from dockwright.journal import Journal, read
from dockwright.model import Model
from dockwright.sandbox import Sandbox
from dockwright.session import BY_USER, Session
from dockwright.testing.messages_rules import check_request
from dockwright.testing.scripted_api import At, Fault, Script, ScriptedApi, Turn, text, thinking, tool_use
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
    folder: Path, turns: Script, *, limits: Limits | None = None, resumed: bool = False, **more: Any
) -> AsyncIterator[Bench]:
    shown: list[Event] = []
    path = folder / "journal.jsonl"
    known = [*read(path)] if resumed else []
    async with ScriptedApi(turns) as api:
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
                assert session.history.messages() == messages(read(path))


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
        while not condition():  # noqa: ASYNC110 - what is waited for is what others wrote into a file
            await asyncio.sleep(0.005)


async def test_a_turn_without_calls_is_the_end(tmp_path: Path) -> None:
    async with bench(tmp_path, ["Hello."]) as b:
        answered = await b.session.ask("hi")
    assert (answered.content, answered.stop_reason, answered.turn) == ((text("Hello."),), "end_turn", 1)
    assert b.order() == ["session.started", "prompted", "turn.started", "answered 1"]
    assert b.of(Prompted)[0].content == (text("hi"),)
    started = b.of(SessionStarted)[0]
    assert (started.model, started.system) == ("claude-sonnet-5-5", tuple(SYSTEM))
    assert started.tools == tuple(tool.offer() for tool in TOOLS.values())


async def test_a_request_is_the_system_the_tools_and_the_conversation(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([look("a")]), "Done."], caching=False) as b:
        await b.session.ask("hi")
    body = b.api.requests[1].body
    assert (body["system"], body["tools"]) == (SYSTEM, [tool.offer() for tool in TOOLS.values()])
    assert body["messages"] == [
        {"role": "user", "content": [text("hi")]},
        {"role": "assistant", "content": [look("a")]},
        {"role": "user", "content": [result("a", "saw a")]},
    ]


async def test_results_go_back_in_the_order_of_the_calls(tmp_path: Path) -> None:
    turn = Turn([thinking("Hm."), look("a", 0.1), look("b"), do("c"), look("d")])
    async with bench(tmp_path, [turn, "Done."]) as b:
        answered = await b.session.ask("hi")
    assert answered.content == (text("Done."),)
    assert b.sent() == [[result("a", "saw a"), result("b", "saw b"), result("c", "did c"), result("d", "saw d")]]


async def test_read_only_calls_run_side_by_side_and_any_other_call_is_a_barrier(tmp_path: Path) -> None:
    turn = Turn([look("a", 0.1), look("b", 0.05), do("c", 0.02), do("d"), look("e", 0.05), look("f"), do("g")])
    async with bench(tmp_path, [turn, "Done."]) as b:
        await b.session.ask("hi")
    calls = [word for word in b.order() if word.startswith(("started", "finished"))]
    assert calls == [
        "started a", "started b", "finished b", "finished a", "started c", "finished c", "started d", "finished d",
        "started e", "started f", "finished f", "finished e", "started g", "finished g",
    ]  # fmt: skip


async def test_a_call_starts_while_the_answer_still_comes_in(tmp_path: Path) -> None:
    turn = Turn([text("Now."), do("a"), thinking("Hm.")], faults=(Fault("stall", at="thinking", seconds=0.2),))
    async with bench(tmp_path, [turn, "Done."]) as b:
        await b.session.ask("hi")
    assert b.order()[2:] == [
        "turn.started", "answer.started 2", "started a", "finished a", "answered 3", "turn.started", "answered 1",
    ]  # fmt: skip
    assert b.of(AnswerStarted)[0].content == (text("Now."), do("a"))
    assert b.sent() == [[result("a", "did a")]]


async def test_live_output_is_shown_and_not_journalled(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([text("Hi."), do("a")]), "Done."]) as b:
        await b.session.ask("hi")
    live = [event for event in b.shown if not event.durable]
    assert [event.model_dump(exclude={"at"}) for event in live] == [
        {"type": "text.delta", "kind": "text", "text": "Hi."},
        {"type": "tool.output", "id": "a", "text": "doing a"},
        {"type": "text.delta", "kind": "text", "text": "Done."},
    ]
    assert [event for event in b.shown if event.durable] == b.events


async def test_details_are_journalled_and_not_sent(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([look("a")]), "Done."]) as b:
        await b.session.ask("hi")
    finished = b.of(ToolFinished)[0]
    assert (finished.content, finished.is_error, finished.details) == ("saw a", False, {"path": "a"})
    assert b.sent() == [[result("a", "saw a")]]


async def test_a_result_may_be_blocks(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([tool_use("Show", id="a")]), "Done."]) as b:
        await b.session.ask("hi")
    assert b.sent() == [[result("a", [text("a picture")])]]


async def test_what_cannot_be_called_is_an_error_result(tmp_path: Path) -> None:
    calls = [tool_use("Write", id="a"), tool_use("Look", {"pth": "x"}, id="b"), tool_use("Do", {"what": 3}, id="c")]
    async with bench(tmp_path, [Turn(calls), "Done."]) as b:
        await b.session.ask("hi")
    bad = "InputValidationError: {} failed due to the following issue(s):\n"
    assert b.sent() == [[
        result("a", _wrapped("Error: No such tool available: Write"), error=True),
        result("b", _wrapped(bad.format("Look") + "The required parameter `path` is missing\n"
                             "An unexpected parameter `pth` was provided"), error=True),
        result("c", _wrapped(bad.format("Do") + "The parameter `what` type is expected as `string` but provided as "
                             "`number`"), error=True),
    ]]  # fmt: skip


def _wrapped(words: str) -> str:
    return f"<tool_use_error>{words}</tool_use_error>"


async def test_a_failed_call_is_an_error_result_and_the_turn_goes_on(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([fail("a", "tool"), fail("b", "os"), do("c")]), "Done."]) as b:
        answered = await b.session.ask("hi")
    assert answered.content == (text("Done."),)
    assert b.sent() == [[
        result("a", "The thing broke.", error=True),
        result("b", "ENOENT: no such file or directory, 'a.txt'", error=True),
        result("c", "did c"),
    ]]  # fmt: skip


@pytest.mark.parametrize(("how", "error"), [("lost", SandboxLost), ("bug", ZeroDivisionError)])
async def test_a_lost_sandbox_or_a_bug_ends_the_turn_and_what_ran_beside_it_is_interrupted(
    tmp_path: Path, how: str, error: type[Exception]
) -> None:
    async with bench(tmp_path, [Turn([do("a"), fail("b", how), do("c")]), "Done."]) as b:
        with pytest.raises(error):
            await b.session.ask("hi")
        history = b.session.history.messages()
        assert history[-1]["content"] == [
            result("a", "did a"), result("b", UNFINISHED, error=True), result("c", NOT_STARTED, error=True)
        ]  # fmt: skip
        assert_can_go_on(history)
        assert (await b.session.ask("again")).content == (text("Done."),)


async def test_a_lost_sandbox_ends_the_stream_too(tmp_path: Path) -> None:
    turn = Turn([fail("a", "lost"), text("More.")], faults=(Fault("stall", at="end", seconds=30),))
    async with bench(tmp_path, [turn, "Done."], stall_seconds=60.0) as b:
        with pytest.raises(SandboxLost):
            await asyncio.wait_for(b.session.ask("hi"), 10)
        assert b.of(Answered) == []
        assert_can_go_on(b.session.history.messages())


async def test_input_that_is_no_json_is_never_run(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([do("a")], faults=(Fault("invalid_json"),)), "Done."]) as b:
        await b.session.ask("hi")
    (sent,) = b.sent()
    assert (sent[0]["tool_use_id"], sent[0]["is_error"]) == ("a", True)
    assert "Do was called with input that is not a JSON object" in str(sent[0]["content"])
    assert '{"what": "a", "seco' in str(sent[0]["content"])
    assert [event for event in b.shown if isinstance(event, ToolOutput)] == []


async def test_a_call_cut_off_by_the_token_limit_is_never_run(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([text("Now."), do("a")], faults=(Fault("max_tokens"),)), "Done."]) as b:
        answered = await b.session.ask("hi")
    assert answered.content == (text("Done."),)
    assert "cut off by the limit on output tokens. Nothing was run." in str(b.sent()[0][0]["content"])
    assert [event for event in b.shown if isinstance(event, ToolOutput)] == []


async def test_two_calls_with_one_id_run_once_each(tmp_path: Path) -> None:
    turn = Turn([do("a"), do("a"), do("b")], faults=(Fault("duplicate_ids"),))
    async with bench(tmp_path, [turn, "Done."]) as b:
        await b.session.ask("hi")
    assert [event.text for event in b.shown if isinstance(event, ToolOutput)] == ["doing a", "doing b"]
    assert [block["content"] for block in b.sent()[0]] == ["did a", "did b"]


async def test_an_answer_stopped_by_the_token_limit_is_asked_to_go_on_twice(tmp_path: Path) -> None:
    long: Script = [Turn([text(f"part {n}")], stop_reason="max_tokens") for n in range(4)]
    async with bench(tmp_path, long) as b:
        answered = await b.session.ask("hi")
    assert (answered.content, answered.stop_reason) == ((text("part 2"),), "max_tokens")
    assert [event.source for event in b.of(Prompted)] == ["user", "harness", "harness"]


async def test_a_paused_turn_is_sent_again_as_it_is(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([text("wait")], stop_reason="pause_turn"), "Done."]) as b:
        answered = await b.session.ask("hi")
    assert answered.content == (text("Done."),)
    assert b.sent() == [[text("wait")]]


async def test_a_refusal_ends_with_its_own_error_after_it_was_journalled(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([text("No."), do("a", 30)], stop_reason="refusal"), "Done."]) as b:
        with pytest.raises(ModelRefused, match="refused to go on"):
            await b.session.ask("hi")
        assert [event.stop_reason for event in b.of(Answered)] == ["refusal"]
        assert_can_go_on(b.session.history.messages())


async def test_a_full_context_window_ends_with_its_own_error(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([text("So")], stop_reason="model_context_window_exceeded")]) as b:
        with pytest.raises(ModelError, match="fills the context window"):
            await b.session.ask("hi")


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence", "something_new"])
async def test_the_blocks_decide_and_not_the_stop_reason(tmp_path: Path, stop_reason: str) -> None:
    turns: Script = [
        Turn([do("a")], stop_reason=stop_reason),
        Turn([text("Bye.")], stop_reason=stop_reason),
        "not this",
    ]
    async with bench(tmp_path, turns) as b:
        answered = await b.session.ask("hi")
    assert (answered.content, b.sent()) == ((text("Bye."),), [[result("a", "did a")]])


async def test_a_stop_for_calls_without_a_call_is_an_end(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([text("Bye.")], stop_reason="tool_use")]) as b:
        assert (await b.session.ask("hi")).content == (text("Bye."),)


@pytest.mark.parametrize(
    "silent", [Turn([text("")], faults=(Fault("empty"),)), Turn([thinking("Hm.")]), Turn([text("  ")])]
)
async def test_an_answer_without_visible_content_is_asked_for_once_more(tmp_path: Path, silent: Turn) -> None:
    async with bench(tmp_path, [silent, Turn([thinking("Hm.")]), "not this"]) as b:
        answered = await b.session.ask("hi")
    assert [event.source for event in b.of(Prompted)] == ["user", "harness"]
    assert len(b.of(Answered)) == 2
    assert answered == b.of(Answered)[1]


async def test_a_stream_cut_after_a_call_goes_on_with_what_was_whole(tmp_path: Path) -> None:
    turn = Turn([text("Now."), do("a"), do("b")], faults=(Fault("cut", at="end"),))
    lost = Turn([look("c"), text("Lost.")], faults=(Fault("error_event", at="text"),))
    async with bench(tmp_path, [turn, lost, "Done."]) as b:
        await b.session.ask("hi")
    assert [event.stop_reason for event in b.of(Answered)] == ["cut", "cut", "end_turn"]
    assert [sent[:-1] for sent in b.sent()] == [[result("a", "did a"), result("b", "did b")], [result("c", "saw c")]]
    assert all(str(sent[-1]["text"]).startswith("The connection broke off") for sent in b.sent())


async def test_each_retry_is_journalled(tmp_path: Path) -> None:
    turn = Turn([text("Hi."), do("a")], faults=(Fault("close"), Fault("cut", at="tool_use")))
    async with bench(tmp_path, [turn, "Done."]) as b:
        await b.session.ask("hi")
    assert [(event.turn, event.attempt) for event in b.of(ModelRetried)] == [(1, 1), (1, 2)]
    assert b.sent()[-1] == [result("a", "did a")]


async def test_a_limit_on_turns_stops_before_the_next_request(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([do("a")]), Turn([do("b")]), "Done."], limits=Limits(turns=2)) as b:
        with pytest.raises(LimitReached, match="limit of 2 turns was reached"):
            await b.session.ask("hi")
        assert b.session.history.messages()[-1] == {"role": "user", "content": [result("b", "did b")]}
    assert len(b.api.requests) == 2


async def test_a_limit_on_money_stops_before_the_next_request(tmp_path: Path) -> None:
    dear = Turn([do("a")], usage={"output_tokens": 100_000})
    async with bench(tmp_path, [dear, "Done."], limits=Limits(money_usd=0.5)) as b:
        with pytest.raises(LimitReached, match=r"limit of \$0\.5 was reached"):
            await b.session.ask("hi")
        assert b.session.history.cost == pytest.approx(1.0, rel=0.01)
    assert len(b.api.requests) == 1


async def test_a_limit_on_money_needs_a_known_price(tmp_path: Path) -> None:
    async with bench(tmp_path, ["Done."], limits=Limits(money_usd=1), name="local-model") as b:
        with pytest.raises(ConfigError, match=r"price of local-model is not known"):
            await b.session.ask("hi")
    assert (b.api.requests, b.events) == ([], [])


async def test_a_limit_on_seconds_stops_running_calls_too(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([do("a", 30)]), "Done."], limits=Limits(seconds=0.3)) as b:
        with pytest.raises(LimitReached, match=r"limit of 0\.3 seconds was reached"):
            await b.session.ask("hi")
        assert b.session.history.messages()[-1]["content"] == [result("a", UNFINISHED, error=True)]
        with pytest.raises(LimitReached):
            await b.session.ask("again")
    assert len(b.api.requests) == 1


_STALLED = (Fault("stall", at="end", seconds=30),)


@pytest.mark.parametrize(
    ("turn", "when", "last"),
    [
        (Turn([text("Hi.")], delay=30), "turn.started", [text("hi")]),
        (Turn([text("Hi."), text("More.")], faults=_STALLED), "turn.started", [text("hi")]),
        (Turn([text("Hi."), do("a", 30), do("b")], faults=_STALLED), "started a",
         [result("a", BY_USER, error=True), result("b", NOT_STARTED, error=True)]),
        (Turn([look("a"), do("b", 30)], faults=_STALLED), "started b",
         [result("a", "saw a"), result("b", BY_USER, error=True)]),
        (Turn([text("Hi."), do("a", 30), look("b")]), "started a",
         [result("a", BY_USER, error=True), result("b", NOT_STARTED, error=True)]),
        (Turn([look("a", 30), look("b", 0.01)]), "finished b",
         [result("a", BY_USER, error=True), result("b", "saw b")]),
    ],
)  # fmt: skip
async def test_cancelling_anywhere_leaves_a_history_that_can_go_on(
    tmp_path: Path, turn: Turn, when: str, last: Sequence[JsonObject]
) -> None:
    async with bench(tmp_path, [turn, "Done."], stall_seconds=60.0) as b:
        asking = asyncio.create_task(b.session.ask("hi"))
        await until(lambda: b.path.exists() and when in b.order())
        await asyncio.sleep(0.05)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asking, 10)
        history = b.session.history.messages()
        assert history[-1]["content"] == [*last]
        assert history == messages(b.events)
        assert_can_go_on(history)


_WORK: list[Turn | str] = [
    Turn([thinking("Hm."), look("a"), do("b")]),
    Turn([text("Now."), fail("c", "os"), do("d")]),
    "Done.",
]


async def test_a_journal_broken_off_at_any_event_can_go_on(tmp_path: Path) -> None:
    eager = Turn([text("Hi."), do("e"), look("f"), text("More.")], faults=(Fault("stall", at="end", seconds=0.1),))
    async with bench(tmp_path, [*_WORK[:2], eager, "Done."]) as b:
        await b.session.ask("hi")
    events = b.events
    for count in range(len(events) + 1):
        assert_can_go_on(messages(events[:count]))


async def test_a_session_goes_on_after_the_events_of_its_journal(tmp_path: Path) -> None:
    async with bench(tmp_path, _WORK) as b:
        await b.session.ask("hi")
    before = b.events
    async with bench(tmp_path, [*_WORK, "And more."], resumed=True) as b:
        answered = await b.session.ask("more?")
    assert (answered.turn, answered.content) == (4, (text("And more."),))
    assert b.events[: len(before)] == before
    assert len(b.of(SessionStarted)) == 1
    assert b.session.history.cost == pytest.approx(sum(event.cost or 0 for event in b.of(Answered)))


async def test_restored_takes_the_conversation_back_to_the_end_of_a_turn(tmp_path: Path) -> None:
    async with bench(tmp_path, [*_WORK, "Second."]) as b:
        await b.session.ask("hi")
        second = b.session.history.messages()[:-1]
        await b.session.ask("what else?")
        events = b.events
    undone = [messages([*events, Restored(turn=turn, commit="c")]) for turn in (0, 2, 4)]
    assert undone == [[], second, messages(events)]


async def test_turns_are_counted_on_after_a_restore(tmp_path: Path) -> None:
    async with bench(tmp_path, ["One.", "Two."]) as b:
        await b.session.ask("hi")
        await _journal_of(b).append(Restored(turn=0, commit="c"))
        answered = await b.session.ask("start again")
        assert (answered.turn, answered.content) == (2, (text("One."),))
    assert b.api.requests[1].body["messages"][0]["content"][0]["text"] == "start again"


def _journal_of(b: Bench) -> Journal:
    return b.session._journal


async def test_text_that_has_no_utf8_form_is_replaced(tmp_path: Path) -> None:
    async with bench(tmp_path, [Turn([tool_use("Look", {"path": "\udc80"}, id="a")]), "Done."]) as b:
        await b.session.ask("half \ud83d")
    assert b.of(Prompted)[0].content == (text("half \ufffd"),)
    assert b.sent() == [[result("a", "saw \ufffd")]]


async def test_a_foreign_server_can_be_worked_with(tmp_path: Path) -> None:
    calls = [tool_use("Look", {"path": "x"}), tool_use("Do", {"what": "y"})]
    foreign = (Fault("foreign"),)
    turns = [Turn([text("Hi."), *calls], faults=foreign), Turn([text("Bye.")], faults=foreign)]
    async with bench(tmp_path, turns) as b:
        answered = await b.session.ask("hi")
    assert (answered.content, b.sent()) == (
        (text("Bye."),),
        [[result("call_0_1", "saw x"), result("call_0_2", "did y")]],
    )


_AT: tuple[At, ...] = ("start", "text", "thinking", "tool_use", "end")
_FAULTS = [
    *(Fault(kind, at=at, seconds=5) for kind in ("error_event", "cut", "clean_cut", "stall") for at in _AT),
    *(Fault(kind) for kind in ("close", "invalid_json", "max_tokens", "duplicate_ids", "foreign")),
    *(Fault("http", status=status) for status in (429, 500, 529)),
    Fault("http", status=502, body=b"<html>"),
]


@pytest.mark.parametrize("fault", _FAULTS, ids=lambda fault: f"{fault.kind}-{fault.at}-{fault.status}")
async def test_every_passing_fault_ends_well(tmp_path: Path, fault: Fault) -> None:
    turn = Turn([thinking("Hm."), text("Hello."), do("a"), look("b")], faults=(fault,))
    async with bench(tmp_path, [turn, turn, "Done."]) as b:
        answered = await b.session.ask("hi")
        assert_can_go_on(b.session.history.messages())
    assert answered.content == (text("Done."),)
    ran = [event.text for event in b.shown if isinstance(event, ToolOutput)]
    assert len(ran) <= 2
    assert [request.body["messages"][0]["role"] for request in b.api.requests] == ["user"] * len(b.api.requests)


@pytest.mark.parametrize("fault", [fault for fault in _FAULTS if fault.kind in ("error_event", "cut", "close", "http")])
async def test_every_lasting_fault_ends_with_an_exit_code_of_its_own(tmp_path: Path, fault: Fault) -> None:
    turn = Turn([thinking("Hm."), text("Hello.")], faults=(Fault(**{**vars(fault), "at": "text"}),) * 3)
    async with bench(tmp_path, [turn], attempts=3) as b:
        with pytest.raises(DockwrightError) as caught:
            await b.session.ask("hi")
        assert_can_go_on(b.session.history.messages())
    assert caught.value.exit_code == ExitCode.MODEL


async def test_many_sessions_share_one_model(tmp_path: Path) -> None:
    count = 25
    scripts: dict[str, Script] = {
        str(n): [Turn([look(f"a{n}", 0.01), do(f"b{n}")]), f"I am {n}."] for n in range(count)
    }
    async with ScriptedApi(scripts=scripts) as api, Model(ModelSettings(base_url=api.url)) as model:

        async def work(n: int) -> tuple[JsonObject, ...]:
            with Journal(tmp_path / f"{n}.jsonl") as journal:
                session = Session(model, TOOLS, ToolContext(cast(Sandbox, None)), journal, system=SYSTEM)
                return (await session.ask(f"[[script:{n}]]")).content

        assert await asyncio.gather(*map(work, range(count))) == [(text(f"I am {n}."),) for n in range(count)]
