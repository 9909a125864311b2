"""A journal in the formats of others."""

import io
import json
from pathlib import Path

from dockwright.events import Answered, RunFinished, RunStarted, SessionStarted, ToolFinished
from dockwright.export.atif import trajectory
from dockwright.export.stream_json import StreamJsonSink
from dockwright.journal import read

EVENTS = [*read(Path(__file__).parents[2] / "examples" / "recorded" / "orders.jsonl")]
STEP = {
    "step_id", "timestamp", "source", "message", "model_name", "reasoning_content", "tool_calls", "observation",
    "metrics", "llm_call_count", "extra",
}  # fmt: skip
AGENT_ONLY = {"model_name", "reasoning_content", "tool_calls", "metrics"}


def test_a_trajectory_has_the_steps_in_order_and_no_field_that_atif_does_not_know() -> None:
    made = trajectory(EVENTS, "1")
    steps = made["steps"]
    assert (made["schema_version"], [step["step_id"] for step in steps]) == ("ATIF-v1.8", [*range(1, len(steps) + 1)])
    assert sum(step["source"] == "agent" for step in steps) == sum(isinstance(event, Answered) for event in EVENTS)
    for step in steps:
        assert set(step) <= (STEP if step["source"] == "agent" else STEP - AGENT_ONLY)
        calls = {call["tool_call_id"] for call in step.get("tool_calls", ())}
        assert {result["source_call_id"] for result in step.get("observation", {}).get("results", ())} <= calls
    assert json.loads(json.dumps(made)) == made


def test_stream_json_is_a_line_for_each_block_and_result_and_ends_with_the_result() -> None:
    stream = io.StringIO()
    sink = StreamJsonSink(stream)
    begun = RunStarted(run="r", version="1", task="t", agent="a", agent_sha256="", model="m", repo="/r")
    ended = RunFinished(status="limit", exit_code=5, reason="The limit of $3 was reached.")
    for event in [begun, SessionStarted(model="m", system=(), tools=()), *EVENTS, ended]:
        sink(event)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    blocks = sum(len(event.content) for event in EVENTS if isinstance(event, Answered))
    results = sum(isinstance(event, ToolFinished) for event in EVENTS)
    kinds = [line["type"] for line in lines]
    assert (kinds[0], kinds.count("assistant"), kinds.count("user")) == ("system", blocks, results)
    assert [len(line["message"]["content"]) for line in lines if line["type"] == "assistant"] == [1] * blocks
    assert (lines[-1]["subtype"], lines[-1]["is_error"], len({line["session_id"] for line in lines})) == (
        "error_max_budget_usd", True, 1
    )  # fmt: skip
