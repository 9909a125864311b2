"""Whoever answers for the model's API: what it sends is bounded, is not followed elsewhere, and crashes nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from pydantic import SecretStr
from tests.unit.model_bench import Watched

from dockwright.config import ModelSettings
from dockwright.errors import ModelError
from dockwright.model import Model

KEY = "sk-ant-not-a-real-key-0123456789"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
MESSAGE: dict[str, object] = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "x"}
START = {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 1, "output_tokens": 1}}}
Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def endpoint(answer: Answer) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives one answer to everything, and the requests that it got."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            await answer(writer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


async def ask(url: str) -> str:
    """What the model said, or the error."""
    settings = ModelSettings(
        base_url=url, api_key=SecretStr(KEY), attempts=2, backoff_seconds=0.001, stall_seconds=20, name="x"
    )
    async with asyncio.timeout(120), Model(settings) as model:
        try:
            answer = await Watched().ask(model)
        except ModelError as error:
            return f"error: {error}"
        return json.dumps(answer.content)


def event(data: object) -> bytes:
    name = data["type"] if isinstance(data, dict) else "ping"
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()


async def endless_line(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"event: message_start\ndata: ")
    for _ in range(4096):
        writer.write(b"x" * (1 << 16))
        await writer.drain()


async def endless_text(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + event(START))
    writer.write(event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}))
    piece = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 60_000}})
    for _ in range(4096):
        writer.write(piece)
        await writer.drain()


async def unfolding(writer: asyncio.StreamWriter) -> None:
    body = gzip.compress(bytes(256 << 20), 1)
    writer.write(HEAD.replace(b"connection", b"content-encoding: gzip\r\nconnection") + body)


async def endless_error(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 no\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
    for _ in range(4096):
        writer.write(b"x" * (1 << 16))
        await writer.drain()


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + bytes(range(256)) * 64 + b"\n\ndata: {\n\nevent: ping\n\n" + event([1]) + event({"type": 7}))


async def deep_events(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + event(START) + b"event: message_delta\ndata: " + b'{"a":' * 50_000 + b"}" * 50_000 + b"\n\n")


async def odd_types(writer: asyncio.StreamWriter) -> None:
    for data in (
        START, {"type": "content_block_start", "index": "0", "content_block": None},
        {"type": "content_block_delta", "index": -1, "delta": 5}, {"type": "content_block_stop", "index": 10**30},
        {"type": "message_delta", "delta": {"stop_reason": ["end_turn"]}, "usage": {"output_tokens": -5}},
        {"type": "message_stop"},
    ):  # fmt: skip
        writer.write((HEAD if data is START else b"") + event(data))


async def no_http(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff SSH-2.0-OpenSSH\r\n\r\n")


@pytest.mark.parametrize("answer", [endless_line, endless_text, unfolding, endless_error], ids=lambda a: a.__name__)
async def test_an_answer_without_end_is_an_error_in_bounded_memory(answer: Answer) -> None:
    async with endpoint(answer) as (url, _):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        said = await ask(url)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    assert said.startswith("error: ")
    assert grown < 400, f"{grown} MiB"


@pytest.mark.parametrize("answer", [garbage, deep_events, no_http], ids=lambda a: a.__name__)
async def test_an_answer_that_is_none_is_an_error_that_says_so(answer: Answer) -> None:
    async with endpoint(answer) as (url, _):
        said = await ask(url)
    assert said.startswith(f"error: The model API at {url} failed 2 times"), said


async def test_odd_types_are_passed_over() -> None:
    async with endpoint(odd_types) as (url, _):
        assert await ask(url) == "[]"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_takes_neither_key_nor_conversation_elsewhere(status: int) -> None:
    async def nothing(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)

    async with endpoint(nothing) as (elsewhere, stolen):

        async def redirect(writer: asyncio.StreamWriter) -> None:
            head = f"HTTP/1.1 {status} there\r\nlocation: {elsewhere}/v1/messages\r\ncontent-length: 0\r\n\r\n"
            writer.write(head.encode())

        async with endpoint(redirect) as (url, asked):
            assert (await ask(url)).startswith("error: ")
            assert (len(asked) >= 1, stolen) == (True, [])


async def test_a_careless_client_takes_the_key_there() -> None:
    async def nothing(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)

    async with endpoint(nothing) as (elsewhere, stolen):

        async def redirect(writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 302 there\r\nlocation: {elsewhere}/\r\ncontent-length: 0\r\n\r\n".encode())

        async with endpoint(redirect) as (url, _):
            request = urllib.request.Request(url, headers={"X-Api-Key": KEY})  # noqa: S310 - loopback
            await asyncio.to_thread(lambda: urllib.request.urlopen(request).read())  # noqa: S310
    assert KEY.encode() in stolen[0]
