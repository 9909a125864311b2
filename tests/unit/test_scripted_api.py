"""The scripted API over a bare socket, so that nothing of a client's own care hides what it does."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from dockwright.events import Answered, Prompted, Usage
from dockwright.journal import Journal
from dockwright.testing.scripted_api import Fault, Request, ScriptedApi, Turn, text, thinking, tool_use

Json = dict[str, Any]


def _user(*blocks: Json) -> Json:
    return {"role": "user", "content": [*blocks]}


def _assistant(*blocks: Json) -> Json:
    return {"role": "assistant", "content": [*blocks]}


def _body(*messages: Json, **more: Any) -> Json:
    return {"model": "m", "max_tokens": 10, "stream": True, "messages": [*(messages or (_user(text("hi")),))], **more}


async def _post(api: ScriptedApi, body: Json, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The status and the body of the answer; a body that breaks off ends in `<broken>`."""
    host, port = api.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    data = json.dumps(body).encode()
    lines = [f"{name}: {value}\r\n" for name, value in {**(headers or {}), "content-length": len(data)}.items()]
    writer.write(f"POST /v1/messages HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + data)
    status, received = 0, b""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        status = int(head.split()[1])
        if "content-length" in head:
            size = int(head.split("content-length: ")[1].split()[0])
            return status, (await reader.readexactly(size)).decode()
        while size := int(await reader.readuntil(b"\r\n"), 16):
            received += (await reader.readexactly(size + 2))[:-2]
        return status, received.decode()
    except asyncio.IncompleteReadError:
        return status, received.decode() + ("<broken>" if status else "")
    finally:
        writer.close()


def _events(stream: str) -> list[Json]:
    return [json.loads(line.removeprefix("data: ")) for line in stream.split("\n") if line.startswith("data: ")]


async def test_a_turn_is_streamed_as_the_messages_api_does() -> None:
    call = tool_use("Read", {"file_path": "a"})
    async with ScriptedApi([Turn([thinking("Hm."), text("Hello."), call], usage={"input_tokens": 7})]) as api:
        status, stream = await _post(api, _body())
    usage = {"input_tokens": 7, "output_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    message = {"id": "msg_000", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": usage}
    started = {"type": "tool_use", "id": "toolu_000_2", "name": "Read", "input": {}}
    piece = {"type": "input_json_delta", "partial_json": '{"file_path": "a"}'}
    end = {"stop_reason": "tool_use", "stop_sequence": None}
    assert (status, _events(stream)) == (200, [
        {"type": "message_start", "message": message | {"stop_reason": None, "stop_sequence": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "signed"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "Hello."}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": started},
        {"type": "content_block_delta", "index": 2, "delta": piece},
        {"type": "content_block_stop", "index": 2},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ])  # fmt: skip


async def test_the_turn_is_the_number_of_assistant_messages() -> None:
    async with ScriptedApi(["one", "two"]) as api:
        first = _user(text("hi"))
        second = [first, _assistant(text("one")), _user(text("more"))]
        third = [*second, _assistant(text("two")), _user(text("more"))]
        said = [await _said(api, messages) for messages in ([first], second, [first], third)]
    assert said == ["one", "two", "one", "Done."]


async def _said(api: ScriptedApi, messages: list[Json]) -> str:
    _, stream = await _post(api, _body(*messages))
    return "".join(
        event["delta"].get("text", "") for event in _events(stream) if event["type"] == "content_block_delta"
    )


async def test_a_marker_in_the_first_user_message_picks_the_script() -> None:
    async with ScriptedApi(["plain"], scripts={"a": ["from a"], "b": ["from b"]}) as api:
        said = [await _said(api, [_user(text(words))]) for words in ("hi", "[[script:b]] hi", "x [[script:a]]")]
        unknown = await _post(api, _body(_user(text("[[script:c]]"))))
    assert said == ["plain", "from b", "from a"]
    assert unknown[0] == 400


async def test_faults_strike_each_session_in_turn_and_then_end() -> None:
    turn = Turn(
        [text("fine")], faults=(Fault("http", status=503), Fault("http", status=429, headers={"retry-after": "7"}))
    )
    async with ScriptedApi([turn]) as api:
        statuses = [(await _post(api, _body(_user(text(who)))))[0] for who in ("a", "b", "a", "a", "b")]
    assert statuses == [503, 503, 429, 200, 429]


@pytest.mark.parametrize(
    ("fault", "status", "last"),
    [
        (Fault("close"), 0, ""),
        (Fault("http", status=502, body=b"<html>bad"), 502, "<html>bad"),
        (Fault("cut", at="start"), 200, "message_start<broken>"),
        (Fault("cut", at="tool_use"), 200, "content_block_delta<broken>"),
        (Fault("clean_cut", at="end"), 200, "content_block_stop"),
        (Fault("error_event", at="text"), 200, "error"),
        (Fault("stall", seconds=0.01), 200, "message_stop"),
        (Fault("empty"), 200, "message_stop"),
    ],
)
async def test_a_fault_is_what_it_says_on_the_wire(fault: Fault, status: int, last: str) -> None:
    async with ScriptedApi([Turn([text("Hello."), tool_use("Read", {"file_path": "a"})], faults=(fault,))]) as api:
        got, body = await _post(api, _body())
    end = body if got != 200 else _events(body)[-1]["type"] + ("<broken>" if body.endswith("<broken>") else "")
    assert (got, end) == (status, last)


async def test_spoilt_input_is_no_json() -> None:
    turn = Turn([tool_use("Read", {"file_path": "a"})], faults=(Fault("invalid_json"),))
    async with ScriptedApi([turn]) as api:
        _, stream = await _post(api, _body())
    raw = "".join(event["delta"]["partial_json"] for event in _events(stream) if event["type"] == "content_block_delta")
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw)


async def test_a_foreign_server_overlaps_blocks_and_leaves_fields_out() -> None:
    turn = Turn([text("Hi."), tool_use("Read")], faults=(Fault("foreign"),))
    async with ScriptedApi([turn]) as api:
        events = _events((await _post(api, _body()))[1])
    order = [(event["type"].removeprefix("content_block_"), event.get("index")) for event in events]
    assert order == [
        ("message_start", None), ("start", 0), ("delta", 0), ("start", 1), ("delta", 1), ("stop", 0), ("stop", 1),
        ("message_delta", None), ("message_stop", None),
    ]  # fmt: skip
    assert events[3]["content_block"] == {"type": "tool_use", "id": "call_0_1", "name": "Read"}
    assert events[0]["message"]["usage"] == {"input_tokens": 10, "output_tokens": 0}


async def test_requests_are_kept_as_they_came_in() -> None:
    async with ScriptedApi() as api:
        await _post(api, _body(), {"X-Api-Key": "k"})
        await _post(api, {"model": "m"})
    headers = {"x-api-key": "k", "content-length": str(len(json.dumps(_body())))}
    assert api.requests[0] == Request("/v1/messages", headers, _body())
    assert api.requests[1].body == {"model": "m"}


async def test_only_the_right_key_is_let_in() -> None:
    async with ScriptedApi(key="k") as api:
        keys: list[dict[str, str]] = [{}, {"x-api-key": "k"}, {"authorization": "Bearer k"}, {"x-api-key": "other"}]
        assert [(await _post(api, _body(), headers))[0] for headers in keys] == [401, 200, 200, 401]


_CALL = tool_use("Read", id="a")
_RESULT = {"type": "tool_result", "tool_use_id": "a", "content": "x"}
_CACHED = {"cache_control": {"type": "ephemeral"}}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "m", "max_tokens": 1, "stream": True}, "messages: Field required"),
        (_body(temperature=0), "temperature: Extra inputs are not permitted"),
        (_body(stream=False), "streams only"),
        (_body(messages=[]), "at least one message is required"),
        (_body(_assistant(text("hi"))), 'first message must use the "user" role'),
        (_body(_user(text("hi")), _user(text("hi"))), "messages.1: roles must alternate"),
        (_body(_user(text("hi")), _assistant(text("hi"))), "must end with a user message"),
        (_body(_user()), "non-empty content"),
        (_body(_user(text("  "))), "non-whitespace text"),
        (_body(_user(text("hi") | {"id": 1})), "messages.0.content.0.text.id: Extra inputs are not permitted"),
        (_body(_user(text("hi")), _assistant(_CALL), _user(text("hi"))), "asked ['a'], got []"),
        (_body(_user(text("hi")), _assistant(_CALL), _user(_RESULT, _RESULT)), "asked ['a'], got ['a', 'a']"),
        (_body(_user(text("hi")), _assistant(_CALL), _user(text("hi"), _RESULT)), "must come first"),
        (_body(_user(_RESULT)), "asked [], got ['a']"),
        (_body(_user(_CALL)), "`tool_use` blocks can only be in `assistant` messages"),
        (_body(_user(text("hi")), _assistant(_CALL, _CALL), _user(_RESULT)), "ids must be unique"),
        (_body(_user(text("hi")), _assistant(tool_use("a b", id="a")), _user(_RESULT)), "name: String should match"),
        (_body(_user(*[text("hi") | _CACHED] * 5)), "maximum of 4 blocks with cache_control"),
        (_body(tools=[{"name": "a"}, {"name": "a"}]), "Tool names must be unique"),
    ],
)
async def test_what_the_messages_api_refuses_is_refused(body: Json, words: str) -> None:
    async with ScriptedApi() as api:
        status, answer = await _post(api, body)
    error = json.loads(answer)["error"]
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert words in error["message"]


async def test_after_a_pause_the_assistant_message_may_stand_last() -> None:
    async with ScriptedApi([Turn([text("wait")], stop_reason="pause_turn"), "on"]) as api:
        assert await _said(api, [_user(text("hi")), _assistant(text("wait"))]) == "on"


async def test_a_web_search_finds_the_given_hits() -> None:
    hit = {"title": "A", "url": "https://a.example"}
    async with ScriptedApi(["not this"], hits=[hit]) as api:
        _, stream = await _post(api, _body(tools=[{"type": "web_search_20250305", "name": "web_search"}]))
    blocks = [event["content_block"] for event in _events(stream) if event["type"] == "content_block_start"]
    assert [result | hit for result in blocks[1]["content"]] == blocks[1]["content"]


async def test_a_journal_is_played_again_answer_by_answer(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        for turn, (words, stop) in enumerate([("one", "max_tokens"), ("two", "end_turn")], start=1):
            await journal.append(Prompted(content=(text("hi"),)))
            answered = Answered(
                turn=turn, id="i", model="m", content=(text(words),), stop_reason=stop,
                usage=Usage(output_tokens=turn), cost=None, seconds=1.0,
            )  # fmt: skip
            await journal.append(answered)
    async with ScriptedApi.from_journal(tmp_path / "journal.jsonl") as api:
        streams = [
            _events((await _post(api, _body(_user(text("hi")), *said)))[1])
            for said in ((), (_assistant(text("one")), _user(text("go on"))))
        ]
    assert [
        (stream[2]["delta"]["text"], stream[-2]["delta"]["stop_reason"], stream[-2]["usage"]) for stream in streams
    ] == [
        ("one", "max_tokens", {"output_tokens": 1}),
        ("two", "end_turn", {"output_tokens": 2}),
    ]
