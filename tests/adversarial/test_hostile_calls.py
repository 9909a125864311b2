"""What a model asks for: unknown tools, odd types, ids and depths, input that was cut. Nothing of it runs unless it is
whole and offered, and the conversation stays one that the API takes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.e2e.running import Desk

from dockwright.events import JsonObject
from dockwright.incoming import UNPARSED, Incoming
from dockwright.testing.scripted_api import ScriptedApi, Turn, tool_use


def streamed(raw: str, *, id_: object = "toolu_1", name: object = "Bash", stop: bool = True) -> list[JsonObject]:
    """The blocks that are handed out for a call whose input is `raw`."""
    blocks: list[JsonObject] = []
    incoming = Incoming(lambda kind, text: None, blocks.append)
    block = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    incoming.take({"type": "content_block_start", "index": 0, "content_block": block})
    incoming.take(
        {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": raw}}
    )
    if stop:
        incoming.take({"type": "content_block_stop", "index": 0})
    return blocks


DEEP = '{"a":' * 500 + "1" + "}" * 500
BROKEN = {
    "truncated": '{"command": "rm -rf /work',
    "deep": DEEP,
    "deeper": '{"a":' * 100_000 + "}" * 100_000,
    "an array": '["rm"]',
    "a string": '"rm"',
    "not a number": '{"command": NaN}',
    "two values": '{"command": "a"}{"command": "b"}',
    "trailing": '{"command": "a"} rm',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_input_that_is_not_one_plain_object_is_never_a_call(kind: str) -> None:
    [block] = streamed(BROKEN[kind])
    assert isinstance(block["input"], dict)
    assert block["input"].keys() == {UNPARSED}


def test_a_careless_reader_makes_calls_of_some() -> None:
    value, _ = json.JSONDecoder().raw_decode(BROKEN["two values"])
    assert value == {"command": "a"}
    assert json.loads(BROKEN["not a number"])["command"] != json.loads(BROKEN["not a number"])["command"]
    with pytest.raises(RecursionError):
        json.loads(BROKEN["deeper"])


def test_brackets_in_a_text_are_no_depth() -> None:
    text = "[" * 5000 + '\\"' + "{" * 5000
    [block] = streamed(json.dumps({"content": text}))
    assert block["input"] == {"content": text}


def test_a_block_that_never_ended_is_not_handed_out() -> None:
    assert streamed('{"command": "true"}', stop=False) == []


@pytest.mark.parametrize("id_", ["../../etc/passwd", "a b\n", "", None, 5, "x" * 5000, "\ud800"])
def test_ids_are_made_legal_and_lead_nowhere(id_: object) -> None:
    [block] = streamed("{}", id_=id_)
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", str(block["id"]))


@pytest.mark.bubblewrap
async def test_hostile_calls_are_error_results_and_the_run_goes_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tools="Read")
    calls = [
        tool_use("Bash", {"command": "touch /workspace/ran"}, id="toolu_a"),  # not in the persona's list
        tool_use("../../../bin/sh", {"x": 1}, id="toolu_b"),
        tool_use("Read", {"file_path": ["/etc/passwd"]}, id="toolu_c"),
        tool_use("Read", {"file_path": "\x00/etc"}, id="toolu_e"),
        tool_use("Read", {"file_path": "README.md", "run_as": "root"}, id="toolu_f"),
        tool_use("Read", {"file_path": "README.md" + "/x" * 5000}, id="toolu_g"),
    ]
    async with ScriptedApi([Turn(calls), "Done.", "Done."]) as api:
        code, said = await desk.call(api, *desk.arguments("bubblewrap"))
        results = api.requests[1].body["messages"][-1]["content"]
    assert code == 4, said
    assert [(part["tool_use_id"], part.get("is_error")) for part in results] == [(call["id"], True) for call in calls]
    assert desk.git("branch").split() == ["*", "main"]
