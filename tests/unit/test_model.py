"""The model client over a real wire, against the scripted API."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr
from tests.unit.model_bench import EDIT, HI, READ, USAGE, Watched, served, settings

from dockwright.config import ModelSettings
from dockwright.errors import ConfigError, ToolError
from dockwright.events import JsonObject, Usage
from dockwright.incoming import UNPARSED
from dockwright.model import Answer, Model
from dockwright.prices import price
from dockwright.testing.scripted_api import Fault, ScriptedApi, Turn, text, thinking, tool_use


async def test_an_answer_is_told_piece_by_piece_and_returned_whole() -> None:
    blocks = [thinking("Hm."), text("Hello there, this is more than one piece."), READ]
    watched = Watched()
    async with served(Turn(blocks, usage=USAGE)) as (model, _):
        answer = await watched.ask(model)
    assert replace(answer, seconds=0.0) == Answer(
        id="msg_000", model="claude-sonnet-5-5", content=tuple(blocks), stop_reason="tool_use", stop_details={},
        usage=Usage(**USAGE), cost=answer.cost, seconds=0.0,
    )  # fmt: skip
    assert watched.said == [("thinking", "Hm."), ("text", "Hello there, this is mor"), ("text", "e than one piece.")]
    assert watched.blocks == blocks


async def test_a_block_is_handed_out_while_the_message_still_comes_in() -> None:
    turn = Turn([text("Reading."), READ, text("Then more.")], faults=(Fault("stall", at="end", seconds=30),))
    handed_out = asyncio.Event()
    async with served(turn) as (model, _):
        asking = asyncio.create_task(
            model.answer(
                system=[], tools=[], messages=HI,
                on_block=lambda block: handed_out.set() if block["type"] == "tool_use" else None,
            )
        )  # fmt: skip
        await asyncio.wait_for(handed_out.wait(), 10)
        assert not asking.done()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


async def test_requests_at_once_have_a_connection_each_and_later_ones_use_those_again() -> None:
    async with served("Hi.") as (model, api):
        for _ in range(3):
            await asyncio.gather(*(model.answer(system=[], tools=[], messages=HI) for _ in range(2)))
    assert (len(api.requests), len(api._connections)) == (6, 2)


async def test_a_request_has_the_defaults_and_no_field_that_nobody_set() -> None:
    async with served("Hi.") as (model, api):
        await model.answer(system=[], tools=[], messages=HI)
    cached = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
    assert api.requests[0].body == {
        "model": "claude-sonnet-5-5",
        "max_tokens": 32_000,
        "messages": [{"role": "user", "content": [cached]}],
        "stream": True,
    }


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, {}),
        ({"effort": "high"}, {}),
        ({"thinking": True}, {"thinking": {"type": "adaptive", "display": "summarized"}}),
        (
            {"thinking": True, "effort": "high"},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "high"}},
        ),
    ],
)
async def test_another_server_is_asked_to_think_only_where_the_user_says_so(
    more: dict[str, Any], expected: dict[str, Any]
) -> None:
    async with served("Hi.", **more) as (model, api):
        await model.answer(system=[], tools=[], messages=HI)
    body = api.requests[0].body
    assert {name: body[name] for name in body if name in ("thinking", "output_config")} == expected


async def test_the_prefix_is_cached_up_to_the_newest_and_the_former_user_message() -> None:
    messages: list[JsonObject] = [
        *HI,
        {"role": "assistant", "content": [text("a"), READ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]},
        {"role": "assistant", "content": [text("b")]},
        {"role": "user", "content": [text("c"), text("d")]},
    ]
    system: list[JsonObject] = [text("persona"), text("harness")]
    async with ScriptedApi(["", "", "Hi."]) as api, Model(settings(api)) as model:
        await model.answer(system=system, tools=[{"name": "T"}], messages=messages)
    body = api.requests[0].body
    marked = [
        block.get("text", block["type"])
        for content in (body["system"], body["tools"], *(message["content"] for message in body["messages"]))
        for block in content
        if "cache_control" in block
    ]
    assert marked == ["harness", "tool_result", "d"]
    assert all("cache_control" not in block for block in system)


async def test_caching_can_be_turned_off() -> None:
    async with served("Hi.", caching=False) as (model, api):
        await model.answer(system=[text("s")], tools=[], messages=HI)
    assert "cache_control" not in str(api.requests[0].body)


async def test_the_key_travels_in_both_headers_to_other_servers_and_nothing_of_traces_does() -> None:
    async with served("Hi.", headers={"X-Team": "db"}) as (model, api):
        await model.answer(system=[], tools=[], messages=HI)
    headers = api.requests[0].headers
    assert (headers["authorization"], headers["x-api-key"], headers["x-team"]) == ("Bearer k", "k", "db")
    assert "traceparent" not in headers


async def test_a_token_is_sent_as_bearer_and_a_server_without_a_key_is_fine() -> None:
    async with ScriptedApi() as api:
        for more in ({"api_key": None, "auth_token": SecretStr("t")}, {"api_key": None}):
            async with Model(settings(api, **more)) as model:
                await model.answer(system=[], tools=[], messages=HI)
    assert [request.headers["authorization"] for request in api.requests] == ["Bearer t", "Bearer none"]


async def test_without_a_key_for_anthropic_it_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"no key for the model API\. Set ANTHROPIC_API_KEY"):
        async with Model(ModelSettings()) as model:
            await model.warm()


@pytest.mark.parametrize("provider", ["bedrock", "vertex"])
async def test_a_cloud_that_cannot_be_used_says_what_is_missing(provider: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"{provider} cannot be used: .* Install dockwright\[{provider}\], and set the"
    ):
        async with Model(ModelSettings.model_validate({"provider": provider, "name": "an-id"})) as model:
            await model.warm()


async def test_input_that_is_no_json_is_kept_as_what_was_sent() -> None:
    async with served(Turn([READ], faults=(Fault("invalid_json"),))) as (model, _):
        answer = await model.answer(system=[], tools=[], messages=HI)
    assert answer.content == (READ | {"input": {UNPARSED: '{"file_path"'}},)


async def test_a_call_cut_off_by_the_token_limit_is_not_whole() -> None:
    async with served(Turn([text("Now."), READ], faults=(Fault("max_tokens"),))) as (model, _):
        answer = await model.answer(system=[], tools=[], messages=HI)
    assert (answer.content, answer.stop_reason) == (
        (text("Now."), READ | {"input": {UNPARSED: '{"file_path"'}}),
        "max_tokens",
    )


async def test_an_id_that_comes_twice_is_two_calls_unless_the_call_is_the_same() -> None:
    same = tool_use("Read", {"file_path": "a"}, id="other")
    async with served(Turn([READ, same, EDIT], faults=(Fault("duplicate_ids"),))) as (model, _):
        answer = await model.answer(system=[], tools=[], messages=HI)
    first, second = answer.content
    assert (first, {**second, "id": ""}) == (READ, {**EDIT, "id": ""})
    assert second["id"] not in ("toolu_1", "")


async def test_an_id_of_an_earlier_turn_is_not_used_again() -> None:
    result: JsonObject = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
    messages: list[JsonObject] = [
        *HI,
        {"role": "assistant", "content": [READ]},
        {"role": "user", "content": [result]},
    ]
    async with ScriptedApi([Turn([READ]), Turn([READ])]) as api, Model(settings(api)) as model:
        answer = await model.answer(system=[], tools=[], messages=messages, used_ids={"toolu_1"})
    assert [block["id"] == "toolu_1" for block in answer.content] == [False]


async def test_names_ids_and_text_that_could_not_be_sent_back_are_made_legal() -> None:
    call = tool_use("Read it!", {"a\ud83d": ["b\ud83d"]}, id="call:1/é")
    async with served(Turn([text("half \ud83d"), call])) as (model, _):
        answer = await model.answer(system=[], tools=[], messages=HI)
    assert answer.content == (text("half \ufffd"), tool_use("Read_it_", {"a\ufffd": ["b\ufffd"]}, id="call_1__"))


async def test_an_empty_answer_is_an_answer() -> None:
    async with served(Turn([text("Hi.")], faults=(Fault("empty"),))) as (model, _):
        answer = await model.answer(system=[], tools=[], messages=HI)
    assert (answer.content, answer.stop_reason) == ((), "end_turn")


async def test_a_foreign_server_is_understood() -> None:
    watched = Watched()
    blocks = [thinking("Hm."), text("Hello."), tool_use("Read", {"file_path": "a"}), tool_use("Now")]
    async with served(Turn(blocks, faults=(Fault("foreign"),))) as (model, _):
        answer = await watched.ask(model)
    expected = (*blocks[:2], blocks[2] | {"id": "call_0_2"}, blocks[3] | {"id": "call_0_3"})
    assert replace(answer, seconds=0.0, cost=None) == Answer(
        id="chatcmpl-000", model="/models/foreign.gguf", content=expected, stop_reason="tool_use", stop_details={},
        usage=Usage(input_tokens=10, output_tokens=5), cost=None, seconds=0.0,
    )  # fmt: skip
    assert watched.blocks == [*expected]


async def test_many_answers_can_come_at_once() -> None:
    async with ScriptedApi(scripts={str(n): [f"I am {n}."] for n in range(20)}) as api, Model(settings(api)) as model:
        asked = [
            model.answer(system=[], tools=[], messages=[{"role": "user", "content": [text(f"[[script:{n}]]")]}])
            for n in range(20)
        ]
        answers = await asyncio.gather(*asked)
    assert [answer.content for answer in answers] == [(text(f"I am {n}."),) for n in range(20)]


def test_the_price_counts_cached_tokens_at_their_own_rate() -> None:
    million = 1_000_000
    plain = price("claude-sonnet-5-5", Usage(input_tokens=million))
    read = price("claude-sonnet-5-5", Usage(cache_read_input_tokens=million))
    written = price("claude-sonnet-5-5", Usage(cache_creation_input_tokens=million))
    assert plain is not None
    assert read is not None
    assert written is not None
    assert read < 0.2 * plain
    assert written == pytest.approx(1.25 * plain)
    assert price("claude-sonnet-5-5", Usage(output_tokens=million)) == pytest.approx(5 * plain)


def test_the_price_of_a_model_nobody_lists_is_unknown_and_not_zero() -> None:
    assert price("/models/foreign.gguf", Usage(input_tokens=1)) is None


async def test_an_answer_is_priced_by_the_name_asked_for_where_the_server_gives_another() -> None:
    async with served(Turn([text("Hi.")], usage=USAGE, faults=(Fault("foreign"),))) as (model, _):
        answer = await model.answer(system=[], tools=[], messages=HI)
    assert answer.cost == price("claude-sonnet-5-5", answer.usage)


async def test_web_search_is_a_request_of_its_own() -> None:
    hits = [{"title": "A", "url": "https://a.example"}, {"title": "B", "url": "https://b.example"}]
    async with ScriptedApi(["not this"], hits=hits) as api, Model(settings(api)) as model:
        found = await model.search("asyncio", ["a.example"], [])
    assert found == tuple(hits)
    assert api.requests[0].body["tools"] == [
        {"type": "web_search_20250305", "name": "web_search", "max_uses": 8, "allowed_domains": ["a.example"]}
    ]


async def test_a_web_search_that_fails_is_told_to_the_model() -> None:
    async with ScriptedApi(key="other") as api, Model(settings(api)) as model:
        with pytest.raises(ToolError, match=r"Web search is unavailable: The model API at .* answered 401"):
            await model.search("asyncio")


async def test_the_sdk_is_told_everything_and_looks_for_nothing_in_the_environment() -> None:
    program = """
import asyncio, os
os.environ |= {
    "ANTHROPIC_API_KEY": "leak", "ANTHROPIC_AUTH_TOKEN": "leak", "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9", "SSL_CERT_FILE": "/nowhere",
    "ANTHROPIC_PROFILE": "leak",
}
from dockwright.config import ModelSettings
from dockwright.model import Model
from dockwright.testing.scripted_api import ScriptedApi
async def main():
    async with ScriptedApi() as api, Model(ModelSettings(base_url=api.url)) as model:
        hi = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
        await model.answer(system=[], tools=[], messages=[hi])
        print("leak" in str(api.requests[0].headers))
asyncio.run(main())
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


async def test_the_sdk_is_not_loaded_before_it_is_needed() -> None:
    program = "import sys, dockwright.session; print(sys.modules.keys() & {'anthropic', 'genai_prices', 'httpx2'})"
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
