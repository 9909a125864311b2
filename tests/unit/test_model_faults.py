"""Every way in which a model API can fail: what passes is tried again, what does not says what to do."""

import asyncio

import pytest
from tests.unit.model_bench import HI, READ, Watched, served

from dockwright.errors import ModelError
from dockwright.testing.scripted_api import Fault, ScriptedApi, Turn, text, thinking

FOREIGN_TOO_LONG = b"""{"error": {"code": 400, "message": "request (9000 tokens) exceeds the available context size",
    "type": "exceed_context_size_error"}}"""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault("http", status=429, error="rate_limit_error"), "429 as scripted"),
        (Fault("http", status=500, error="api_error"), "500 as scripted"),
        (Fault("http", status=529), "529 as scripted"),
        (Fault("http", status=502, body=b"<html>Bad gateway"), "502 <html>Bad gateway"),
        (Fault("http", status=408, error="timeout_error"), "408 as scripted"),
        (Fault("close"), "the connection broke: Server disconnected without sending a response."),
        (Fault("error_event", at="start"), "529 as scripted"),
        (Fault("error_event", at="text", error="api_error"), "500 as scripted"),
        (Fault("cut", at="start"), "the connection broke: peer closed connection without sending complete message"),
        (Fault("cut", at="text"), "the connection broke: peer closed connection without sending complete message"),
        (Fault("clean_cut", at="start"), "the stream ended before the message did"),
        (Fault("clean_cut", at="text"), "the stream ended before the message did"),
        (Fault("clean_cut", at="end"), "the stream ended before the message did"),
        (Fault("stall", at="start", seconds=5), "the server was silent for 0.3 s"),
        (Fault("stall", at="text", seconds=5), "the server was silent for 0.3 s"),
    ],
)
async def test_a_failure_that_may_pass_is_tried_again(fault: Fault, reason: str) -> None:
    watched = Watched()
    async with served(Turn([text("Hello.")], faults=(fault, fault)), stall_seconds=0.3) as (model, api):
        answer = await watched.ask(model)
    assert (answer.content, answer.stop_reason, len(api.requests)) == ((text("Hello."),), "end_turn", 3)
    assert [attempt for attempt, _, _ in watched.retries] == [1, 2]
    assert all(why.startswith(reason) for _, why, _ in watched.retries), watched.retries


@pytest.mark.parametrize("fault", [Fault("cut", at="tool_use"), Fault("error_event", at="tool_use")])
async def test_a_break_inside_the_first_call_is_tried_again(fault: Fault) -> None:
    watched = Watched()
    async with served(Turn([text("Reading."), READ], faults=(fault,))) as (model, _):
        answer = await watched.ask(model)
    assert (answer.content, len(watched.retries)) == ((text("Reading."), READ), 1)
    assert watched.blocks == [text("Reading."), text("Reading."), READ]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", at="text"),
        Fault("clean_cut", at="text"),
        Fault("error_event", at="text"),
        Fault("error_event", at="text", error="invalid_request_error"),
        Fault("stall", at="text", seconds=5),
    ],
)
async def test_a_break_after_a_call_was_handed_out_is_not_tried_again(fault: Fault) -> None:
    watched = Watched()
    async with served(Turn([thinking("Hm."), READ, text("Lost.")], faults=(fault,)), stall_seconds=0.3) as (model, api):
        answer = await watched.ask(model)
    assert (answer.content, answer.stop_reason, len(api.requests)) == ((thinking("Hm."), READ), "cut", 1)
    assert watched.retries == []


async def test_retries_end_and_say_what_happened_last() -> None:
    faults = (Fault("close"), Fault("close"), Fault("http", status=529))
    async with served(Turn([text("Hi.")], faults=faults), attempts=3) as (model, api):
        with pytest.raises(
            ModelError, match=r"failed 3 times, at last: 529 as scripted\. What was done so far is kept"
        ):
            await model.answer(system=[], tools=[], messages=HI)
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("0.2", 0.2, 0.3),
        ("0", 0.0, 0.1),
        ("-5", 0.0, 0.1),
        ("soon", 0.0, 0.1),
        ("Mon, 23 Nov 2020 10:00:00 GMT", 0.0, 0.1),
    ],
)
async def test_the_server_may_ask_for_a_pause(retry_after: str, least: float, most: float) -> None:
    watched = Watched()
    fault = Fault("http", status=429, headers={"retry-after": retry_after})
    async with served(Turn([text("Hi.")], faults=(fault,))) as (model, _):
        await watched.ask(model)
    assert [least <= delay <= most for _, _, delay in watched.retries] == [True]


@pytest.mark.parametrize("retry_after", ["4000000", "Mon, 23 Nov 2099 10:00:00 GMT", "inf"])
async def test_the_pause_that_a_server_asks_for_is_capped(retry_after: str) -> None:
    watched = Watched()
    fault = Fault("http", status=429, headers={"retry-after": retry_after})
    async with served(Turn([text("Hi.")], faults=(fault,))) as (model, _):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(watched.ask(model), 0.3)
    assert [delay for _, _, delay in watched.retries] == [60.0]


async def test_pauses_grow_with_each_attempt() -> None:
    watched = Watched()
    async with served(Turn([text("Hi.")], faults=(Fault("close"),) * 4), backoff_seconds=0.01) as (model, _):
        await watched.ask(model)
    expected = [0.01, 0.02, 0.04, 0.08]
    assert all(0.75 * full <= delay <= full for full, (_, _, delay) in zip(expected, watched.retries, strict=True))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("http", status=400, error="invalid_request_error"), r"400 as scripted\. If it names a setting"),
        (Fault("http", status=401, error="authentication_error"), "Set ANTHROPIC_API_KEY .* to a key that is valid"),
        (Fault("http", status=402, error="billing_error"), "Check the balance"),
        (Fault("http", status=403, error="permission_error"), "a key that may use claude-sonnet-5-5"),
        (Fault("http", status=404, error="not_found_error"), "Check the model name claude-sonnet-5-5"),
        (Fault("http", status=413, error="request_too_large"), r"no longer fits\. Split the task"),
        (Fault("http", status=400, body=FOREIGN_TOO_LONG), r"no longer fits\. Split the task"),
        (Fault("error_event", at="text", error="invalid_request_error"), r"400 as scripted\. If it names a setting"),
    ],
)  # fmt: skip
async def test_a_failure_that_will_not_pass_ends_at_once_and_says_what_to_do(fault: Fault, words: str) -> None:
    async with served(Turn([text("Hi.")], faults=(fault,))) as (model, api):
        with pytest.raises(ModelError, match=words):
            await model.answer(system=[], tools=[], messages=HI)
    assert len(api.requests) == 1


async def test_a_redirect_does_not_carry_the_key_elsewhere() -> None:
    async with ScriptedApi() as other:
        there = Fault("http", status=307, headers={"location": f"{other.url}/v1/messages"}, body=b"")
        async with served(Turn([text("Hi.")], faults=(there,))) as (model, _):
            with pytest.raises(ModelError, match="Redirects are not followed, since the key would travel along"):
                await model.answer(system=[], tools=[], messages=HI)
    assert other.requests == []


async def test_a_server_may_say_that_trying_again_does_not_help() -> None:
    fault = Fault("http", status=429, headers={"x-should-retry": "false"})
    async with served(Turn([text("Hi.")], faults=(fault,))) as (model, _):
        with pytest.raises(ModelError, match=r"429 as scripted\. Trying again would not help\."):
            await model.answer(system=[], tools=[], messages=HI)
