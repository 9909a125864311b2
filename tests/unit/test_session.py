"""The loop, and what it does with whatever the model answers."""

from pathlib import Path

import pytest
from tests.unit.session_bench import SYSTEM, TOOLS, assert_can_go_on, bench, do, fail, look, result

from dockwright.errors import (
    ModelError,
    ModelRefused,
)
from dockwright.events import (
    Answered,
    AnswerStarted,
    Prompted,
    SessionStarted,
    ToolFinished,
    ToolOutput,
)
from dockwright.testing.scripted_api import Fault, Script, Turn, text, thinking, tool_use


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
