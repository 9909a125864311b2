"""A conversation that outgrows the model's window goes on from a summary, and loses nothing that must not be lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.session_bench import SYSTEM, assert_can_go_on, bench, do, look

from dockwright.compaction import FULL
from dockwright.errors import ContextFull, ModelError
from dockwright.events import Answered, Compacted, JsonObject, Restored
from dockwright.testing.scripted_api import Fault, Turn, text, thinking, tool_use

WINDOW = 20_000
FULL_USAGE = {"input_tokens": int(FULL * WINDOW)}
SUMMARY, GO_ON = "It will go on from a summary", "Go on with what is left"
TASK = "Build the orders service. Never touch the payments table."


def much(size: int) -> JsonObject:
    return tool_use("Do", {"what": "a" * size}, id="much")


def texts(message: JsonObject) -> str:
    return "\n".join(str(block.get("text", "")) for block in cast(list[Any], message["content"]))


async def test_near_the_end_of_the_window_it_goes_on_from_a_summary(tmp_path: Path) -> None:
    script = [Turn([much(9000)]), Turn([look("b")], usage=FULL_USAGE)]
    words: dict[str, Turn | str] = {SUMMARY: "A is done and was tested.", "saw b": "All done."}
    async with bench(tmp_path, script, to_words=words, context_window=WINDOW) as it:
        answered = await it.session.ask(TASK)
        _, _, asked, after = [request.body for request in it.api.requests]
        compacted = it.of(Compacted)
    assert answered.content == (text("All done."),)
    assert (asked["system"], asked["tools"]) == (after["system"], after["tools"])
    assert texts(asked["messages"][-1]).endswith("what came of them.")
    roles = [message["role"] for message in after["messages"]]
    assert roles == ["user", "assistant", "user"]  # the summary, and the newest turn as it was
    first = texts(after["messages"][0])
    assert TASK in first
    assert "A is done and was tested." in first
    assert "a" * 9000 not in str(after["messages"])
    assert [event.kept_from for event in compacted] == [2]
    assert_can_go_on(it.session.history.messages())


async def test_the_same_conversation_comes_out_of_the_journal_and_goes_on(tmp_path: Path) -> None:
    script = [Turn([do("a")], usage=FULL_USAGE)]
    words: dict[str, Turn | str] = {SUMMARY: "A is done.", GO_ON: "Done."}
    async with bench(tmp_path, script, to_words=words, context_window=WINDOW) as it:
        await it.session.ask(TASK)
        before = it.session.history.messages()
    async with bench(tmp_path, ["?", "Yes."], resumed=True, context_window=WINDOW) as it:
        assert it.session.history.messages() == before
        await it.session.ask("Is it done?")
        sent = it.api.requests[0].body["messages"]
    assert texts(sent[-1]) == "Is it done?"
    assert TASK in texts(sent[0])


async def test_what_the_user_said_is_kept_word_for_word_over_two_summaries(tmp_path: Path) -> None:
    script = [Turn([thinking("hm"), much(20_000)], usage=FULL_USAGE)]
    words: dict[str, Turn | str] = {SUMMARY: "Summary.", GO_ON: Turn([text("First done.")], usage=FULL_USAGE)}
    async with bench(tmp_path, script, to_words=words, context_window=WINDOW) as it:
        await it.session.ask(TASK)
        await it.session.ask("And the refunds, too.")
        last = it.api.requests[-1].body["messages"]
        assert len(it.of(Compacted)) == 2
    assert str(last).count(TASK) == 1
    assert str(last).count("And the refunds, too.") == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("http", status=400, error="invalid_request_error", body=b'{"type":"error","error":{"type":'
              b'"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}'),
        Fault("http", status=413, error="request_too_large"),
    ],
)  # fmt: skip
async def test_a_request_that_does_not_fit_is_summarised_and_sent_again(tmp_path: Path, fault: Fault) -> None:
    script = [Turn([much(5000)]), Turn([text("never")], faults=(fault,))]
    words: dict[str, Turn | str] = {SUMMARY: "A is done.", GO_ON: "Done."}
    async with bench(tmp_path, script, to_words=words) as it:
        answered = await it.session.ask(TASK)
        asked = it.api.requests[2].body["messages"]
    assert answered.content == (text("Done."),)
    assert answered.turn == 2
    assert "characters truncated" in str(asked)  # what does not fit is shortened for the summary


async def test_an_answer_that_fills_the_window_is_summarised_and_gone_on_from(tmp_path: Path) -> None:
    script = [Turn([text("Half of it")], "model_context_window_exceeded")]
    async with bench(tmp_path, script, to_words={SUMMARY: "Half is done.", GO_ON: "All of it."}) as it:
        assert (await it.session.ask(TASK)).content == (text("All of it."),)


async def test_a_summary_is_asked_for_again_where_calls_came_in_its_place(tmp_path: Path) -> None:
    script = [Turn([do("a")], usage=FULL_USAGE)]
    words: dict[str, Turn | str] = {SUMMARY: Turn([do("b")]), "none will be run": "A is done.", GO_ON: "Done."}
    async with bench(tmp_path, script, to_words=words, context_window=WINDOW) as it:
        await it.session.ask(TASK)
        assert "started b" not in it.order()
        assert len(it.of(Compacted)) == 1


async def test_a_conversation_that_cannot_be_summarised_ends_with_the_error_of_the_model(tmp_path: Path) -> None:
    script = [Turn([do("a")], usage=FULL_USAGE)]
    async with bench(tmp_path, script, to_words={SUMMARY: Turn([do("b")])}, context_window=WINDOW) as it:
        with pytest.raises(ModelError, match="did not summarise"):
            await it.session.ask(TASK)
        assert_can_go_on(it.session.history.messages())


async def test_what_never_fits_ends_after_one_summary(tmp_path: Path) -> None:
    full = Fault("http", status=413, error="request_too_large")
    words: dict[str, Turn | str] = {SUMMARY: "Nothing yet.", GO_ON: Turn([text("never")], faults=(full,) * 9)}
    async with bench(tmp_path, [Turn([text("never")], faults=(full,) * 9)], to_words=words) as it:
        with pytest.raises(ContextFull, match="no longer fits"):
            await it.session.ask(TASK)
        assert len(it.of(Compacted)) == 1


async def test_going_back_before_a_summary_brings_the_conversation_back(tmp_path: Path) -> None:
    script = [Turn([do("a")]), Turn([do("b")], usage=FULL_USAGE)]
    async with bench(tmp_path, script, to_words={SUMMARY: "A, b.", GO_ON: "Done."}, context_window=WINDOW) as it:
        await it.session.ask(TASK)
        await it.session._journal.append(Restored(turn=1, commit="c"))
        said = it.session.history.messages()
    assert texts(said[0]) == TASK
    assert [message["role"] for message in said] == ["user", "assistant", "user"]


async def test_ids_are_not_used_again_after_a_summary(tmp_path: Path) -> None:
    script = [Turn([much(20_000)]), Turn([tool_use("Do", {"what": "b"}, id="same")], usage=FULL_USAGE)]
    words: dict[str, Turn | str] = {SUMMARY: "Both.", GO_ON: Turn([tool_use("Do", {"what": "c"}, id="same")])}
    async with bench(tmp_path, script, to_words=words, context_window=WINDOW) as it:
        await it.session.ask(TASK)
        ids = [str(block["id"]) for answer in it.of(Answered) for block in answer.content if "id" in block]
    assert len(set(ids)) == len(ids) > 2


async def test_the_system_prompt_is_sent_unchanged(tmp_path: Path) -> None:
    script = [Turn([do("a")], usage=FULL_USAGE)]
    async with bench(tmp_path, script, to_words={SUMMARY: "A.", GO_ON: "Done."}, context_window=WINDOW) as it:
        await it.session.ask(TASK)
        systems = [request.body["system"] for request in it.api.requests]
    assert all([block["text"] for block in system] == [block["text"] for block in SYSTEM] for system in systems)
