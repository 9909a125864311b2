"""How a session ends: limits, interrupts, faults, lost sandboxes. Whatever it is, the conversation can go on."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from tests.unit.session_bench import SYSTEM, TOOLS, Bench, assert_can_go_on, bench, do, fail, look, result, until

from dockwright.config import Limits, ModelSettings
from dockwright.errors import (
    ConfigError,
    DockwrightError,
    ExitCode,
    LimitReached,
    SandboxLost,
)
from dockwright.events import (
    Answered,
    JsonObject,
    ModelRetried,
    Prompted,
    Restored,
    SessionStarted,
    ToolOutput,
)
from dockwright.history import NOT_STARTED, UNFINISHED, History
from dockwright.journal import Journal
from dockwright.model import Model
from dockwright.sandbox import Sandbox
from dockwright.session import BY_USER, Session
from dockwright.testing.scripted_api import At, Fault, Script, ScriptedApi, Turn, text, thinking, tool_use
from dockwright.tools.base import ToolContext


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
        assert history == History(b.events).messages()
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
        assert_can_go_on(History(events[:count]).messages())


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
    undone = [History([*events, Restored(turn=turn, commit="c")]).messages() for turn in (0, 2, 4)]
    assert undone == [[], second, History(events).messages()]


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


@pytest.mark.parametrize(
    ("limits", "usage", "turn"),
    [(Limits(turns=5), {}, 4), (Limits(money_usd=0.05), {"input_tokens": 21_000}, 1)],
)
async def test_the_model_is_told_once_when_a_limit_is_near(
    tmp_path: Path, limits: Limits, usage: dict[str, int], turn: int
) -> None:
    script = [Turn([do(name)], usage=usage if name == "a" else {}) for name in "abcd"]
    async with bench(tmp_path, [*script, "Done."], limits=limits, name="claude-sonnet-5-5") as it:
        await it.session.ask("Go.")
        told = [str(blocks[-1].get("text", "")) for blocks in it.sent()]
    assert [number for number, text in enumerate(told, start=1) if "80 %" in text] == [turn]
