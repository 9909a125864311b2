"""What the Messages API refuses with a 400, as far as an agent loop can get it wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Block = dict[str, Any]
_FIELDS = frozenset({
    "model", "messages", "max_tokens", "metadata", "stop_sequences", "stream", "system", "thinking", "tools",
    "tool_choice", "service_tier", "container", "cache_control", "output_config", "inference_geo",
})  # fmt: skip
_BLOCK_FIELDS = {
    "text": {"text", "citations"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
    "tool_use": {"id", "name", "input", "caller"},
    "tool_result": {"tool_use_id", "content", "is_error"},
    "image": {"source"},
    "document": {"source", "title", "context", "citations"},
}
_REQUIRED = {"tool_use": {"id", "name", "input"}, "tool_result": {"tool_use_id"}, "thinking": {"thinking", "signature"}}
_ONLY = {"tool_use": "assistant", "thinking": "assistant", "tool_result": "user", "image": "user", "document": "user"}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


class RefusedError(Exception):
    """The request breaks a rule. The text says which and where."""


def check_request(body: Block, *, paused: bool = False) -> None:
    """Raises RefusedError. `paused` allows an assistant message at the end, as after stop_reason pause_turn."""
    for name in body.keys() - _FIELDS:
        raise RefusedError(f"{name}: Extra inputs are not permitted")
    for name in ("model", "max_tokens", "messages"):
        _must(name in body, f"{name}: Field required")
    _must(body.get("stream") is True, "stream: this server plays streams only")
    names = [tool.get("name") for tool in body.get("tools", ())]
    _must(len(names) == len(set(names)), "tools: Tool names must be unique.")
    marked = sum("cache_control" in block for block in _marked(body))
    _must(marked <= 4, f"A maximum of 4 blocks with cache_control may be provided. Found {marked}.")
    for index, block in enumerate(_blocks(body.get("system", ()))):
        _check_block(block, f"system.{index}", "system")
    _check_messages(body["messages"], paused)


def _marked(body: Block) -> Iterator[Block]:
    yield from _blocks(body.get("system", ()))
    yield from body.get("tools", ())
    for message in body["messages"]:
        yield from _blocks(message["content"])


def _blocks(content: str | list[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_messages(messages: list[Block], paused: bool) -> None:
    _must(bool(messages), "messages: at least one message is required")
    _must(messages[0]["role"] == "user", 'messages: first message must use the "user" role')
    _must(paused or messages[-1]["role"] == "user", "messages: the conversation must end with a user message")
    calls: list[str] = []
    seen: set[str] = set()
    before = ""
    for number, message in enumerate(messages):
        at, role, content = f"messages.{number}", message["role"], _blocks(message["content"])
        _must(role != before or role == "assistant", f"{at}: roles must alternate")
        _must(bool(content), f"{at}: all messages must have non-empty content")
        for index, block in enumerate(content):
            _check_block(block, f"{at}.content.{index}", role)
        _check_results(content, calls, at)
        calls = [block["id"] for block in content if block["type"] == "tool_use"]
        _must(len(calls) == len({*calls} - seen), f"{at}: `tool_use` ids must be unique")
        seen |= {*calls}
        before = role
    _must(not calls, f"messages.{len(messages) - 1}: `tool_use` ids without `tool_result` blocks: {', '.join(calls)}")


def _check_results(content: list[Block], calls: list[str], at: str) -> None:
    kinds = [block["type"] == "tool_result" for block in content]
    _must(kinds == sorted(kinds, reverse=True), f"{at}: `tool_result` blocks must come first")
    results = [block["tool_use_id"] for block in content if block["type"] == "tool_result"]
    _must(
        sorted(results) == sorted(calls),
        f"{at}: each `tool_use` of the message before must have a single `tool_result`, and nothing else one: "
        f"asked {calls}, got {results}",
    )


def _check_block(block: Block, at: str, role: str) -> None:
    kind = block.get("type", "")
    _must(bool(kind), f"{at}.type: Field required")
    if known := _BLOCK_FIELDS.get(kind):
        for name in block.keys() - known - {"type", "cache_control"}:
            raise RefusedError(f"{at}.{kind}.{name}: Extra inputs are not permitted")
    for name in _REQUIRED.get(kind, set()) - block.keys():
        raise RefusedError(f"{at}.{kind}.{name}: Field required")
    _must(_ONLY.get(kind, role) == role, f"{at}: `{kind}` blocks can only be in `{_ONLY.get(kind)}` messages")
    _must(kind != "thinking" or "cache_control" not in block, f"{at}: thinking blocks cannot be cached")
    match kind:
        case "text":
            _must(bool(block["text"].strip()), f"{at}: text content blocks must contain non-whitespace text")
        case "tool_use":
            _must(bool(_NAME.fullmatch(block["id"])), f"{at}.id: String should match pattern")
            _must(bool(_NAME.fullmatch(block["name"])), f"{at}.name: String should match pattern")
            _must(isinstance(block["input"], dict), f"{at}.input: Input should be a valid dictionary")
        case "tool_result" if isinstance(block.get("content"), list):
            for index, part in enumerate(block["content"]):
                _check_block(part, f"{at}.content.{index}", role)
                _must(
                    not block.get("is_error") or part["type"] == "text", f"{at}: all content of an error must be text"
                )


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RefusedError(otherwise)
