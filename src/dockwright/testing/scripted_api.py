"""A Messages API on loopback that plays prepared turns, faults included, and refuses requests that break the protocol.

The turn played is the number of assistant messages in the request, so the server keeps no conversation state and any
number of sessions may talk to it at once. `[[script:NAME]]` in the first user message picks one of several scripts.
Standard library only: what is tested is the real client on a real wire.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

from dockwright.events import Answered
from dockwright.journal import read
from dockwright.testing.messages_rules import RefusedError, check_request

Block = dict[str, Any]
At = Literal["start", "text", "thinking", "tool_use", "end"]
_MARKER = re.compile(r"\[\[script:([\w.-]+)\]\]")
_PIECE = 24
_DELTAS = {
    "text": ("text", "text_delta"),
    "thinking": ("thinking", "thinking_delta"),
    "tool_use": ("input", "input_json_delta"),
    "server_tool_use": ("input", "input_json_delta"),
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one attempt at a turn.

    http: `status` with `headers`, and `body` in place of the usual error. close: no response at all. error_event, cut,
    stall: `at` a place in the stream: its start, inside the first block of a type, or its end, when all blocks are
    complete. cut breaks the connection off, clean_cut ends the stream as if it were complete, stall is silent for
    `seconds` and then goes on. invalid_json spoils the input of tool calls; max_tokens does too, and gives that as the
    stop reason. duplicate_ids gives every tool call the id of the first. empty answers with no block at all. foreign
    sends what llama.cpp does: overlapping blocks, missing fields, ids of its own.
    """

    kind: Literal[
        "http", "close", "error_event", "cut", "clean_cut", "stall", "invalid_json", "max_tokens", "duplicate_ids",
        "empty", "foreign",
    ]  # fmt: skip
    at: At = "end"
    status: int = 529
    error: str = "overloaded_error"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Turn:
    """One assistant message. `stop_reason` None is tool_use where a call is in it, otherwise end_turn. The n-th
    attempt at this turn in a session gets the n-th fault, later ones succeed. `delay` is in seconds, before the first
    byte."""

    content: Sequence[Block] = ()
    stop_reason: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    delay: float = 0.0
    faults: tuple[Fault, ...] = ()

    @property
    def stop(self) -> str:
        if self.stop_reason not in (None, "cut"):
            return str(self.stop_reason)
        return "tool_use" if any(block["type"] == "tool_use" for block in self.content) else "end_turn"


@dataclass(frozen=True)
class Request:
    """A request as it came in. Header names are lower case."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


Script = Sequence[Turn | str]


def text(words: str) -> Block:
    return {"type": "text", "text": words}


def thinking(words: str, signature: str = "signed") -> Block:
    return {"type": "thinking", "thinking": words, "signature": signature}


def tool_use(name: str, input: Mapping[str, Any] | None = None, *, id: str | None = None) -> Block:  # noqa: A002
    """A call. Without an id it gets one that is unique in its turn and the script."""
    return {"type": "tool_use", "id": id, "name": name, "input": dict(input or {})}


class ScriptedApi:
    """`async with ScriptedApi([Turn([tool_use("Read", {...})]), "Done."]) as api:` then talk to `api.url`.

    `scripts` are picked by marker. `to_words` are turns that are played, whatever their number, where the newest block
    of the request holds these words. `key` is the only accepted key, any if None. `hits` are what a server-side web
    search finds. With `strict`, what the real one would refuse is refused. What came in is in `requests`, refused ones
    included. After the last turn it answers "Done.".
    """

    def __init__(
        self,
        turns: Script = (),
        *,
        scripts: Mapping[str, Script] | None = None,
        to_words: Mapping[str, Turn | str] | None = None,
        key: str | None = None,
        hits: Sequence[Mapping[str, str]] = (),
        strict: bool = True,
    ) -> None:
        self.requests: list[Request] = []
        self._scripts = {"": turns, **(scripts or {})}
        self._to_words = to_words or {}
        self._key = key
        self._hits = hits
        self._strict = strict
        self._attempts: Counter[tuple[str, int]] = Counter()
        self._connections: list[asyncio.Task[None]] = []

    @classmethod
    def from_journal(cls, path: Path) -> ScriptedApi:
        """Plays the answers of a journal again, in their order."""
        answers = (event for event in read(path) if isinstance(event, Answered))
        return cls([Turn(answer.content, answer.stop_reason, answer.usage.model_dump()) for answer in answers])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.append(asyncio.create_task(self._converse(reader, writer)))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (request := await _receive(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, writer)
        except ConnectionError:
            pass  # the client went away, or the script says so
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        try:
            turn, fault, number = self._pick(request)
        except RefusedError as refusal:
            await _send_error(writer, 400, "invalid_request_error", str(refusal))
            return
        if self._key not in (None, _key(request)):
            await _send_error(writer, 401, "authentication_error", "invalid x-api-key")
            return
        await asyncio.sleep(turn.delay)
        match fault:
            case Fault("close"):
                raise ConnectionAbortedError("as scripted")
            case Fault("http") if fault.body is not None:
                await _send(writer, fault.status, {"content-type": "text/html", **fault.headers}, fault.body)
            case Fault("http"):
                await _send_error(writer, fault.status, fault.error, "as scripted", fault.headers)
            case _:
                await _stream(writer, _events(turn, number, str(request.body["model"]), fault), fault)

    def _pick(self, request: Request) -> tuple[Turn, Fault | None, int]:
        body = request.body
        messages = body.get("messages") or []
        number = sum(message["role"] == "assistant" for message in messages)
        name, key = _conversation(messages)
        if name not in self._scripts:
            raise RefusedError(f"there is no script {name!r}; there are {sorted(self._scripts)}")
        script = self._scripts[name]
        if self._strict:
            check_request(body, paused=0 < number <= len(script) and _turn(script[number - 1]).stop == "pause_turn")
        if body.get("tools") and all(str(tool.get("type")).startswith("web_search_") for tool in body["tools"]):
            return _found(self._hits), None, number
        turn = _turn(script[number]) if number < len(script) else Turn([text("Done.")])
        newest = json.dumps(messages[-1]["content"][-1:])
        for words in (words for words in self._to_words if words in newest):
            turn, key = _turn(self._to_words[words]), f"{key} {words}"
        self._attempts[key, number] += 1
        attempt = self._attempts[key, number]
        return turn, turn.faults[attempt - 1] if attempt <= len(turn.faults) else None, number


def _turn(turn: Turn | str) -> Turn:
    return turn if isinstance(turn, Turn) else Turn([text(turn)])


def _conversation(messages: list[Block]) -> tuple[str, str]:
    """The script that the first user message asks for, and what tells this conversation from others."""
    first = json.dumps(messages[:1])
    marker = _MARKER.search(first)
    return marker[1] if marker else "", first


def _key(request: Request) -> str:
    bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
    return request.headers.get("x-api-key", bearer)


def _found(hits: Sequence[Mapping[str, str]]) -> Turn:
    results = [{"type": "web_search_result", "encrypted_content": "", "page_age": None, **hit} for hit in hits]
    call = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "as asked"}}
    return Turn(
        [call, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": results}, text("Found.")]
    )


def _events(turn: Turn, number: int, model: str, fault: Fault | None) -> list[Block]:
    kind = fault.kind if fault else ""
    foreign = kind == "foreign"
    usage = {"input_tokens": 10, "output_tokens": 0}
    if not foreign:
        usage |= {"cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    usage |= {name: count for name, count in turn.usage.items() if name != "output_tokens"}
    message: Block = {"id": f"{'chatcmpl-' if foreign else 'msg_'}{number:03}", "type": "message", "role": "assistant"}
    message |= {"content": [], "model": "/models/foreign.gguf" if foreign else model, "usage": usage}
    message |= {"stop_reason": None, "stop_sequence": None}
    blocks = [] if kind == "empty" else [_named(block, number, i, foreign) for i, block in enumerate(turn.content)]
    if kind == "duplicate_ids":
        ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
        blocks = [block | {"id": ids[0]} if block["type"] == "tool_use" else block for block in blocks]
    parts = [list(_block_events(index, block, kind)) for index, block in enumerate(blocks)]
    if foreign:  # each block is stopped only after the next one's first delta
        for earlier, later in pairwise(parts):
            later.insert(2, earlier.pop())
    stop = "max_tokens" if kind == "max_tokens" else turn.stop
    end = {"stop_reason": stop, "stop_sequence": None}
    spent = {"output_tokens": turn.usage.get("output_tokens", 5)}
    return [
        {"type": "message_start", "message": message},
        *(event for part in parts for event in part),
        {"type": "message_delta", "delta": end, "usage": spent},
        {"type": "message_stop"},
    ]


def _named(block: Block, number: int, index: int, foreign: bool) -> Block:
    if block["type"] != "tool_use" or block["id"] is not None:
        return block
    return block | {"id": f"call_{number}_{index}" if foreign else f"toolu_{number:03}_{index}"}


def _block_events(index: int, block: Block, fault: str) -> Iterator[Block]:
    field_name, delta = _DELTAS.get(block["type"], ("", ""))
    start = dict(block)
    whole = ""
    if field_name == "input":
        whole = json.dumps(start.pop("input"))
        if fault != "foreign":
            start["input"] = {}
        if fault in ("invalid_json", "max_tokens"):
            whole = whole[: len(whole) * 2 // 3]
    elif field_name:
        whole = start[field_name]
        start[field_name] = ""
    signature = start.pop("signature", None)
    yield {"type": "content_block_start", "index": index, "content_block": start}
    size = max(_PIECE, len(whole) // 40)
    name = "partial_json" if field_name == "input" else field_name
    for at in range(0, len(whole), size):
        piece = whole[at : at + size]
        yield {"type": "content_block_delta", "index": index, "delta": {"type": delta, name: piece}}
    if signature is not None:
        signed = {"type": "signature_delta", "signature": signature}
        yield {"type": "content_block_delta", "index": index, "delta": signed}
    yield {"type": "content_block_stop", "index": index}


def _place(events: list[Block], at: At) -> int:
    """Before which event the fault strikes."""
    if at == "start":
        return 1
    if at == "end":
        return len(events) - 2
    starts = [i for i, event in enumerate(events) if event.get("content_block", {}).get("type") == at]
    return starts[0] + 2


async def _stream(writer: asyncio.StreamWriter, events: list[Block], fault: Fault | None) -> None:
    head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    place = _place(events, fault.at) if fault else -1
    for index, event in enumerate(events):
        if fault and index == place:
            match fault.kind:
                case "cut":
                    await writer.drain()
                    raise ConnectionAbortedError("as scripted")
                case "clean_cut":
                    break
                case "stall":
                    await writer.drain()
                    await asyncio.sleep(fault.seconds)
                case "error_event":
                    details = {"type": fault.error, "message": "as scripted"}
                    _write_event(writer, {"type": "error", "error": details})
                    break
        _write_event(writer, event)
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def _write_event(writer: asyncio.StreamWriter, event: Block) -> None:
    data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


async def _receive(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.split(":", 1) for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except asyncio.IncompleteReadError:
        return None
    return Request(head[0].split()[1], headers, json.loads(body or b"{}"))


async def _send_error(
    writer: asyncio.StreamWriter, status: int, kind: str, message: str, headers: Mapping[str, str] | None = None
) -> None:
    body = {"type": "error", "error": {"type": kind, "message": message}}
    sent = {"content-type": "application/json", "request-id": "req_scripted", **(headers or {})}
    await _send(writer, status, sent, json.dumps(body).encode())


async def _send(writer: asyncio.StreamWriter, status: int, headers: Mapping[str, str], body: bytes) -> None:
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
    writer.write(head.encode() + body)
    await writer.drain()
