"""A journal in the formats of others."""

import io
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from dockwright.events import Answered, RunFinished, RunStarted, SessionStarted, ToolFinished
from dockwright.export.atif import trajectory
from dockwright.export.stream_json import StreamJsonSink
from dockwright.journal import read

EVENTS = [*read(Path(__file__).parents[2] / "examples" / "recorded" / "orders.jsonl")]


class Strict(BaseModel):
    """What ATIF v1.8 allows where we use it: no field of one's own but in `extra`."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ToolCall(Strict):
    tool_call_id: str
    function_name: str
    arguments: dict[str, Any]


class Result(Strict):
    source_call_id: str
    content: str
    extra: dict[str, Any] = {}


class Observation(Strict):
    results: list[Result]


class Metrics(Strict):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    cost_usd: float = 0.0


class Step(Strict):
    step_id: int
    timestamp: str
    source: Literal["system", "user", "agent"]
    message: str
    model_name: str | None = None
    reasoning_content: str | None = None
    llm_call_count: int | None = None
    tool_calls: list[ToolCall] | None = None
    observation: Observation | None = None
    metrics: Metrics | None = None
    extra: dict[str, Any] = {}

    @property
    def of_the_agent(self) -> tuple[object, ...]:
        return self.model_name, self.reasoning_content, self.tool_calls, self.metrics


class Agent(Strict):
    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]] = []
    extra: dict[str, Any] = {}


class FinalMetrics(Strict):
    total_prompt_tokens: int
    total_completion_tokens: int
    total_cached_tokens: int
    total_steps: int
    total_cost_usd: float = 0.0


class Trajectory(Strict):
    schema_version: Literal["ATIF-v1.8"]
    session_id: str
    agent: Agent
    steps: list[Step]
    final_metrics: FinalMetrics
    extra: dict[str, Any] = {}


def test_a_trajectory_has_the_steps_in_order_and_no_field_that_atif_does_not_know() -> None:
    made = Trajectory.model_validate(trajectory(EVENTS, "1"))
    assert [step.step_id for step in made.steps] == [*range(1, made.final_metrics.total_steps + 1)]
    agents = [step for step in made.steps if step.source == "agent"]
    assert len(agents) == sum(isinstance(event, Answered) for event in EVENTS)
    assert {step.of_the_agent for step in made.steps if step.source != "agent"} <= {(None,) * 4}
    called = {call.tool_call_id for step in agents for call in step.tool_calls or ()}
    observed = [(step, result) for step in agents if step.observation for result in step.observation.results]
    for step, result in observed:
        assert result.source_call_id in {call.tool_call_id for call in step.tool_calls or ()}
    finished = {event.id for event in EVENTS if isinstance(event, ToolFinished)}
    assert {result.source_call_id for _, result in observed} == finished & called


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
