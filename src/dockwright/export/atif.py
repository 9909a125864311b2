"""A journal as an ATIF v1.8 trajectory (Agent Trajectory Interchange Format), the one that Harbor reads.

A step is a user message or one model answer with the results of its calls. The format forbids fields of one's own but
in `extra`; null fields are left out. Source: the models of Harbor 0.26, harbor.models.trajectories.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dockwright.events import Answered, Compacted, Event, JsonObject, Prompted, SessionStarted, ToolFinished, Usage
from dockwright.result import RunResult

Step = dict[str, Any]


def trajectory(events: Iterable[Event], version: str) -> dict[str, Any]:
    """The trajectory of a run. Raises ValueError where it has no step yet."""
    known = list(events)
    result = RunResult.from_events(known)
    finished = {event.id: event for event in known if isinstance(event, ToolFinished)}
    started = next((event for event in known if isinstance(event, SessionStarted)), None)
    steps: list[Step] = []
    if started and started.system:
        steps.append({"timestamp": started.at.isoformat(), "source": "system", "message": _text(started.system)})
    for event in known:
        match event:
            case Prompted(source=source):
                extra = {"extra": {"said_by": "harness"}} if source == "harness" else {}
                steps.append(
                    {"timestamp": event.at.isoformat(), "source": "user", "message": _text(event.content)} | extra
                )
            case Compacted():
                message = {"source": "user", "message": _text(event.content), "extra": {"context_compacted": True}}
                steps.append({"timestamp": event.at.isoformat(), **message})
            case Answered():
                steps.append(_answer(event, finished))
    if not steps:
        raise ValueError("the run has no conversation yet")
    return {
        "schema_version": "ATIF-v1.8",
        "session_id": result.run or "unnamed",
        "agent": _agent(result, started, version),
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, start=1)],
        "final_metrics": _final(result, len(steps)),
        "extra": {"status": result.status, "exit_code": result.exit_code, "base": result.base, "commit": result.commit},
    }


def _agent(result: RunResult, started: SessionStarted | None, version: str) -> dict[str, Any]:
    model = result.model or (started.model if started else "")
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool["name"], "description": tool.get("description", ""), "parameters": tool["input_schema"]
            },
        }
        for tool in (started.tools if started else ())
    ]  # fmt: skip
    named = {"name": "dockwright", "version": version, "extra": {"persona": result.agent}}
    return named | ({"model_name": model} if model else {}) | ({"tool_definitions": tools} if tools else {})


def _answer(event: Answered, finished: dict[str, ToolFinished]) -> Step:
    calls = [block for block in event.content if block["type"] == "tool_use"]
    thoughts = "\n".join(str(block["thinking"]) for block in event.content if block["type"] == "thinking")
    step: Step = {
        "timestamp": event.at.isoformat(), "source": "agent", "model_name": event.model, "llm_call_count": 1,
        "message": _text(event.content), "metrics": _metrics(event.usage, event.cost),
        "extra": {"turn": event.turn, "message_id": event.id, "stop_reason": event.stop_reason},
    }  # fmt: skip
    if thoughts:
        step["reasoning_content"] = thoughts
    if calls:
        step["tool_calls"] = [
            {"tool_call_id": call["id"], "function_name": call["name"], "arguments": call["input"]} for call in calls
        ]
    results = [_observed(finished[str(call["id"])]) for call in calls if call["id"] in finished]
    return step | ({"observation": {"results": results}} if results else {})


def _observed(event: ToolFinished) -> dict[str, Any]:
    content = event.content if isinstance(event.content, str) else _text(event.content)
    return {"source_call_id": event.id, "content": content} | ({"extra": {"is_error": True}} if event.is_error else {})


def _metrics(usage: Usage, cost: float | None) -> dict[str, Any]:
    found = {"prompt_tokens": usage.read, "completion_tokens": usage.output_tokens}
    found |= {"cached_tokens": usage.cache_read_input_tokens}
    return found | ({} if cost is None else {"cost_usd": cost})


def _final(result: RunResult, steps: int) -> dict[str, Any]:
    usage = result.usage
    found = {
        "total_prompt_tokens": usage.read, "total_completion_tokens": usage.output_tokens,
        "total_cached_tokens": usage.cache_read_input_tokens, "total_steps": steps,
    }  # fmt: skip
    return found | ({} if result.cost is None else {"total_cost_usd": result.cost})


def _text(blocks: Sequence[JsonObject]) -> str:
    """The text of the blocks; what is not text is named in brackets."""
    hidden = ("thinking", "redacted_thinking", "tool_use")
    said = [
        str(block["text"]) if block["type"] == "text" else f"[{block['type']}]"
        for block in blocks
        if block["type"] not in hidden
    ]
    return "\n\n".join(said)
