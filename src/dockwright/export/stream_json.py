"""Events as Claude Code's `stream-json`: one line for each block of an answer and each tool result.

A sink, so that a run can be followed, and a journal exported, by the same code.
"""

from __future__ import annotations

import json
import uuid
from typing import Any, TextIO

from dockwright.events import (
    Answered,
    Compacted,
    Event,
    ModelRetried,
    RunFinished,
    SessionStarted,
    Status,
    ToolFinished,
)
from dockwright.result import RunResult

_SUBTYPES: dict[Status, str] = {"verified": "success", "done": "success", "limit": "error_max_turns"}


class StreamJsonSink:
    """Writes lines of ASCII JSON. `session_id` is made from the run's id. When its reader goes away it falls silent."""

    def __init__(self, stream: TextIO) -> None:
        self._stream: TextIO | None = stream
        self._result = RunResult()
        self._api_seconds = 0.0
        self._last = ("", "")  # text and stop reason of the last answer
        self._session: SessionStarted | None = None

    def __call__(self, event: Event) -> None:
        self._result = self._result.after(event)
        match event:
            case SessionStarted() if self._session is None or self._session.tools != event.tools:
                self._session = event
                names = [tool["name"] for tool in event.tools]
                self._write(event, type="system", subtype="init", cwd="/workspace", tools=names, mcp_servers=[],
                            model=event.model, permissionMode="bypassPermissions",
                            agents=[self._result.agent])  # fmt: skip
            case Answered(content=content):
                self._api_seconds += event.seconds
                said = "\n".join(str(block["text"]) for block in content if block["type"] == "text")
                self._last = said, event.stop_reason
                for block in content:
                    message = {"id": event.id, "type": "message", "role": "assistant", "model": event.model,
                               "content": [block], "stop_reason": None, "stop_sequence": None,
                               "usage": event.usage.model_dump()}  # fmt: skip
                    self._write(event, type="assistant", message=message, parent_tool_use_id=None)
            case ToolFinished():
                result: dict[str, Any] = {"type": "tool_result", "tool_use_id": event.id, "content": event.content}
                result |= {"is_error": True} if event.is_error else {}
                self._write(event, type="user", message={"role": "user", "content": [result]},
                            parent_tool_use_id=None, tool_use_result=event.details)  # fmt: skip
            case ModelRetried():
                self._write(event, type="system", subtype="api_retry", attempt=event.attempt,
                            retry_delay_ms=round(event.delay * 1000), error=event.reason)  # fmt: skip
            case Compacted():
                self._write(event, type="system", subtype="compact_boundary",
                            compact_metadata={"trigger": "auto", "pre_tokens": event.tokens})  # fmt: skip
            case RunFinished():
                self._write(event, **self._end())

    def _end(self) -> dict[str, Any]:
        result, (text, stop_reason) = self._result, self._last
        subtype = _SUBTYPES.get(result.status, "error_during_execution")
        if result.status == "limit" and "$" in result.reason:
            subtype = "error_max_budget_usd"
        elif result.status == "limit" and "seconds" in result.reason:
            subtype = "error_during_execution"
        said = {"result": text} if subtype == "success" else {"errors": [result.reason]}
        return {
            "type": "result", "subtype": subtype, "is_error": subtype != "success", "num_turns": result.turns,
            "duration_ms": round(result.seconds * 1000), "duration_api_ms": round(self._api_seconds * 1000),
            "total_cost_usd": result.cost, "usage": result.usage.model_dump(), "stop_reason": stop_reason or None,
            "terminal_reason": result.status, "permission_denials": [], **said,
        }  # fmt: skip

    def _write(self, event: Event, **line: Any) -> None:
        if self._stream is None:
            return
        session = str(uuid.uuid5(uuid.NAMESPACE_OID, self._result.run))
        line |= {"session_id": session, "uuid": str(uuid.uuid4()), "timestamp": event.at.isoformat()}
        try:
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
        except OSError:
            self._stream = None
