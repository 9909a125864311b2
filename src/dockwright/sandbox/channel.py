"""The host's end of the one stream: many calls at once over frames, each with its own window.

All that arrives is untrusted: frames, answers, windows and the number of streams are bounded, and whoever goes beyond
ends the channel. When it ends, every open call ends at once with ChannelLost; nothing waits for what cannot come.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections.abc import Callable, Mapping
from typing import Any

from dockwright.sandbox.runner import wire

Json = Mapping[str, Any]
MOST_STREAMS = 256  # that the runner may have open; each costs at most a window of memory
MOST_OF_A_CALL = 1 << 28  # bytes that one call may bring back
MOST_UNREAD = 1 << 26  # bytes that wait for a runner that does not read


class ChannelLost(ConnectionError):
    """The stream ended, or the other end broke the protocol."""


class Stream:
    """One call on the channel. `out` and `err` are bytes that the runner sent, `done` its answer."""

    def __init__(self, channel: Channel, number: int) -> None:
        self.channel, self.number = channel, number
        self.out, self.err = bytearray(), bytearray()
        self.ended = False
        self.on_live: Callable[[bytes], None] | None = None
        self.opened: asyncio.Future[None] = channel.loop.create_future()
        self.done: asyncio.Future[Json] = channel.loop.create_future()
        self.credit, self._uncredited, self._allowed = wire.WINDOW, 0, wire.WINDOW  # what may still be sent, each way
        self._news = asyncio.Event()
        self._hold = False

    # towards the runner

    async def send(self, data: bytes) -> None:
        """Send bytes, as the runner's window allows. Raises ChannelLost."""
        view = memoryview(data)
        while view:
            while self.credit <= 0 and not self.done.done():
                self._news.clear()
                await self._news.wait()
            if self.done.done():
                return
            piece = view[: min(len(view), wire.CHUNK, self.credit)]
            self.credit -= len(piece)
            self.channel.send(wire.frame(wire.DATA, self.number, bytes(piece)))
            await self.channel.drained()
            view = view[len(piece) :]

    def send_end(self) -> None:
        self.channel.send(wire.frame(wire.END, self.number))

    def cancel(self) -> None:
        if not self.done.done():
            self.channel.send(wire.frame(wire.CANCEL, self.number))

    # from the runner

    async def receive(self) -> bytes:
        """The next bytes of a tunnel, b"" at the end. From the first call on, the runner waits for the reader."""
        self._hold = True
        while not self.out and not self.ended and not self.done.done():
            self._news.clear()
            await self._news.wait()
        data = bytes(self.out)
        self.out.clear()
        if data:
            self._give_credit(len(data))
        elif self.done.done() and self.done.exception():
            self.done.result()
        return data

    def _give_credit(self, count: int) -> None:
        """In batches, so that what is sent stays small beside what was received."""
        self._uncredited += count
        if self._uncredited >= wire.BATCH and not self.ended:
            self.channel.send(wire.frame(wire.CREDIT, self.number, wire.NUMBER.pack(self._uncredited)))
            self._allowed += self._uncredited
            self._uncredited = 0

    def take(self, kind: int, payload: bytes) -> None:
        """Raises ValueError and its like for what no honest runner sends."""
        match kind:
            case wire.DATA | wire.ERR | wire.LIVE:
                self._allowed -= len(payload)
                if self._allowed < 0:
                    raise ValueError("more data than its window allows")
                if kind == wire.LIVE:
                    if self.on_live:
                        self.on_live(payload)
                elif kind == wire.DATA:
                    self.out += payload
                else:
                    self.err += payload
                if len(self.out) + len(self.err) > MOST_OF_A_CALL:
                    raise ValueError("more data than was asked for")
                if not self._hold:
                    self._give_credit(len(payload))
            case wire.OPEN:
                if not self.opened.done():
                    self.opened.set_result(None)
            case wire.END:
                self.ended = True
            case wire.CREDIT:
                (count,) = wire.NUMBER.unpack(payload)
                self.credit += count
                if self.credit > wire.WINDOW:
                    raise ValueError("credit for more than was sent")
            case wire.DONE:
                self.finish(_parsed(payload))
            case wire.FAIL:
                self.finish(_failure(_parsed(payload)))
            case _:
                raise ValueError(f"a frame of the unknown kind {kind}")
        self._news.set()

    def finish(self, result: Json | Exception) -> None:
        if self.done.done():
            return
        if isinstance(result, Exception):
            self.done.set_exception(result)
            self.done.exception()  # seen: a call that nobody waits for any more is no warning
            if not self.opened.done():
                self.opened.set_exception(result)
                self.opened.exception()
        else:
            self.done.set_result(result)
        self._news.set()


def _parsed(payload: bytes) -> Json:
    """Raises ValueError where it is not a JSON object, or one too deep to be read."""
    try:
        answer = json.loads(payload)
    except RecursionError as error:
        raise ValueError("an answer of too many levels") from error
    if not isinstance(answer, dict):
        raise ValueError("an answer that is no object")
    return answer


def _failure(answer: Json) -> Exception:
    if "unknown" in answer:
        return KeyError(str(answer["unknown"]))
    number = answer["errno"]
    if not isinstance(number, int) or not 0 < number < 1000:
        raise ValueError("a failure without a number")
    return OSError(number, str(answer.get("text") or os.strerror(number)))


class Channel(asyncio.Protocol):
    """An asyncio protocol; a backend connects it to whatever carries the bytes. `on_open` is told of streams that the
    runner opens."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.hello: asyncio.Future[Json] = self.loop.create_future()
        self.lost: asyncio.Future[str] = self.loop.create_future()
        self.on_open: Callable[[Stream, Json], None] | None = None
        self.diagnostics = bytearray()  # what the runner printed to its stderr: told when it dies
        self._streams: dict[int, Stream] = {}
        self._frames = wire.Frames(wire.MAX_ANSWER)
        self._next, self._theirs = 1, 0  # the next number of ours; how many streams of the runner's are open
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.lost.done():
            return
        try:
            for kind, number, payload in self._frames.feed(data):
                self._dispatch(kind, number, payload)
        except ChannelLost:  # it ended while it was answered
            return
        except (ValueError, KeyError, struct.error) as error:
            said = data[:500].decode("utf-8", "replace") if not self.hello.done() else ""
            self.end(f"the runner broke the protocol: {error}. {said}".strip())

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(str(exc or "the stream ended"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # our side

    def send(self, data: bytes) -> None:
        if self.lost.done() or self._transport is None:
            raise ChannelLost(self.lost.result() if self.lost.done() else "not connected")
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > MOST_UNREAD:
            self.end("the runner does not read what it is sent")

    async def drained(self) -> None:
        await self._writable.wait()

    def open(self, call: Json, data: bytes | None = None) -> Stream:
        """Start a call. `data`, if it fits the window, goes with it in one write."""
        stream = self._streams[self._next] = Stream(self, self._next)
        self._next += 2
        message = wire.frame(wire.OPEN, stream.number, json.dumps(call).encode())
        if data is not None:
            stream.credit -= len(data)
            for at in range(0, len(data), wire.CHUNK):
                message += wire.frame(wire.DATA, stream.number, data[at : at + wire.CHUNK])
            message += wire.frame(wire.END, stream.number)
        self.send(message)
        return stream

    async def call(
        self, call: Json, data: bytes = b"", on_live: Callable[[bytes], None] | None = None
    ) -> tuple[Json, Stream]:
        """Send a call with its data and wait for the answer. If the caller is cancelled, so is the call inside."""
        small = len(data) <= wire.WINDOW
        stream = self.open(call, data if small else None)
        stream.on_live = on_live
        try:
            if not small:
                await stream.send(data)
                stream.send_end()
            return await asyncio.shield(stream.done), stream
        except asyncio.CancelledError:
            stream.cancel()
            await asyncio.wait([stream.done], timeout=10)
            raise

    def end(self, reason: str) -> None:
        """The channel is over: every open call fails now."""
        if self.lost.done():
            return
        if self.diagnostics:
            reason += "; the runner said: " + self.diagnostics[-2000:].decode("utf-8", "replace").strip()
        self.lost.set_result(reason)
        for stream in tuple(self._streams.values()):
            stream.finish(ChannelLost(reason))
        self._streams.clear()
        self._writable.set()
        if not self.hello.done():
            self.hello.set_exception(ChannelLost(reason))
            self.hello.exception()
        if self._transport:
            self._transport.close()

    def _dispatch(self, kind: int, number: int, payload: bytes) -> None:
        if number == 0:
            if not self.hello.done():
                self.hello.set_result(_parsed(payload))
            return
        stream = self._streams.get(number)
        if stream is None:
            if kind != wire.OPEN or number % 2 or self.on_open is None:
                return
            call = _parsed(payload)
            if self._theirs >= MOST_STREAMS:
                if self._writable.is_set():
                    self.send(wire.frame(wire.CANCEL, number))
                return
            self._theirs += 1
            stream = self._streams[number] = Stream(self, number)
            self.on_open(stream, call)
            return
        stream.take(kind, payload)
        if stream.done.done() and self._streams.pop(number, stream) is stream and number % 2 == 0:
            self._theirs -= 1
