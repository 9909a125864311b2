"""One assistant message while it comes in, event by event, from servers that keep to the protocol and ones that do not.

Blocks are handed out in their order as soon as they are complete, so that tool calls can start before the message ends.
What is handed out can be sent back: ids and names are legal, ids unique, inputs objects, text encodable.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from pydantic import JsonValue

from dockwright.events import JsonObject, Usage
from dockwright.strings import with_strings

OnDelta = Callable[[Literal["text", "thinking"], str], None]
OnBlock = Callable[[JsonObject], None]
UNPARSED = "__unparsed_input"  # the only key of an input that was no JSON object; its value is what was sent
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_RAW_SHOWN = 2000
_DEEPEST = 64
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class Incoming:
    """`blocks` are the complete ones, handed out. `stop_reason` is None until the server has said it."""

    def __init__(self, on_delta: OnDelta, on_block: OnBlock, used_ids: Iterable[str] = ()) -> None:
        self.id = ""
        self.model = ""
        self.blocks: list[JsonObject] = []
        self.stop_reason: str | None = None
        self.stop_details: JsonObject = {}
        self._usage: dict[str, Any] = {}
        self._on_delta, self._on_block = on_delta, on_block
        self._used_ids = set(used_ids)
        self._asked: list[tuple[object, object, JsonValue]] = []
        self._open: dict[int, JsonObject] = {}
        self._parts: dict[int, dict[str, list[str]]] = {}
        self._stopped: set[int] = set()

    @property
    def usage(self) -> Usage:
        known = {name: count for name, count in self._usage.items() if isinstance(count, int) and count >= 0}
        return Usage.model_validate(known)

    @property
    def complete(self) -> bool:
        return self.stop_reason is not None and not self._open

    @property
    def has_call(self) -> bool:
        return any(block["type"] == "tool_use" for block in self.blocks)

    def take(self, event: Mapping[str, Any]) -> None:
        """The next event of the stream. Kinds and fields that are not known are passed over."""
        match event:
            case {"type": "message_start", "message": dict(message)}:
                self.id, self.model = str(message.get("id") or ""), str(message.get("model") or "")
                self._count(message.get("usage"))
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                self._open[index] = block
                self._parts[index] = {}
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)} if index in self._open:
                self._grow(index, delta)
            case {"type": "content_block_stop", "index": int(index)}:
                self._stopped.add(index)
                self._hand_out()
            case {"type": "message_delta"}:
                delta = event.get("delta") or {}
                self.stop_reason = delta.get("stop_reason") or self.stop_reason
                self.stop_details = delta.get("stop_details") or {}
                self._count(event.get("usage"))
            case {"type": "message_stop"}:
                self.stop_reason = self.stop_reason or "end_turn"
                self._stopped |= self._open.keys()  # some servers leave out the stop of a block
                self._hand_out()

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: count for name, count in usage.items() if count is not None}

    def _grow(self, index: int, delta: Mapping[str, Any]) -> None:
        match delta:
            case {"type": "text_delta", "text": str(piece)}:
                name = "text"
                self._on_delta("text", piece)
            case {"type": "thinking_delta", "thinking": str(piece)}:
                name = "thinking"
                self._on_delta("thinking", piece)
            case {"type": "signature_delta", "signature": str(piece)}:
                name = "signature"
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                name = "input"
            case {"type": "citations_delta", "citation": dict(citation)}:
                cited = self._open[index].setdefault("citations", [])
                if isinstance(cited, list):
                    cited.append(citation)
                return
            case _:
                return
        self._parts[index].setdefault(name, []).append(piece)

    def _hand_out(self) -> None:
        """Hand out what is complete, up to the first block that is not: some servers let blocks overlap."""
        for index in sorted(self._open):
            if index not in self._stopped:
                return
            block = self._open.pop(index)
            parts = {name: "".join(pieces) for name, pieces in self._parts.pop(index).items()}
            if block.get("type") in ("tool_use", "server_tool_use"):
                block["input"] = _input(block.get("input"), parts.get("input", ""))
            else:
                block |= {name: str(block.get(name) or "") + whole for name, whole in parts.items()}
            block = encodable(block)
            if block.get("type") == "tool_use":
                asked = (block.get("id"), block.get("name"), block["input"])
                if block.get("id") and asked in self._asked:
                    continue  # the very same call twice, which must not run twice
                self._asked.append(asked)
                block = self._legal(block)
            self.blocks.append(block)
            self._on_block(block)

    def _legal(self, call: JsonObject) -> JsonObject:
        wanted = _ILLEGAL.sub("_", str(call.get("id") or ""))
        name = _ILLEGAL.sub("_", str(call.get("name") or "unnamed"))[:128]
        id_ = wanted if wanted and wanted not in self._used_ids else f"toolu_{uuid.uuid4().hex}"
        self._used_ids.add(id_)
        return {**call, "id": id_, "name": name}


def encodable(value: Any) -> Any:
    """The JSON value with lone surrogates, which have no UTF-8 form, replaced."""
    return with_strings(value, lambda text: _SURROGATES.sub("\ufffd", text))


def _input(given: object, raw: str) -> JsonObject:
    if not raw.strip():
        return given if isinstance(given, dict) else {}
    try:
        value = json.loads(raw, parse_constant=_no_constant) if _depth(raw) <= _DEEPEST else None
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {UNPARSED: raw[:_RAW_SHOWN]}


def _depth(raw: str) -> int:
    """How deep JSON is nested; no tool takes more than a few levels, and what handles it later may be recursive."""
    deepest = depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", raw)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
