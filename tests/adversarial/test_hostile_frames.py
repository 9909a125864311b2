"""A runner that was taken over: whatever bytes it sends, the host neither crashes nor hangs nor grows."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockwright.sandbox.channel import MOST_STREAMS, Channel, ChannelLost, Stream
from dockwright.sandbox.runner.wire import (
    CANCEL,
    CREDIT,
    DATA,
    DONE,
    END,
    ERR,
    FAIL,
    HEADER,
    LIVE,
    MAX_ANSWER,
    NUMBER,
    OPEN,
    WINDOW,
    Frames,
    frame,
)  # fmt: skip

HELLO = frame(DONE, 0, b'{"runner": 1}')
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"{}", b"[]", b"null", b'{"errno": 1e400}', b'{"errno": -1}', b'{"unknown": []}', b"[" * 100_000]),
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda kind: st.lists(kind, max_size=3)).map(
        lambda value: json.dumps(value).encode()
    ),
    st.integers(0, 2**32 - 1).map(NUMBER.pack),
)
FRAMES = st.builds(frame, st.integers(0, 255), st.integers(0, 6) | st.integers(0, 2**32 - 1), PAYLOADS)
LIKELY = st.builds(frame, st.sampled_from([OPEN, DATA, ERR, END, DONE, FAIL, CREDIT, CANCEL, LIVE]), st.integers(0, 6), PAYLOADS)  # fmt: skip  # noqa: E501
PIECES = st.lists(st.one_of(LIKELY, FRAMES, st.binary(max_size=60)), max_size=30)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Channel, socket.socket]]:
    """A channel, and the other end of its stream."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    _, channel = await asyncio.get_running_loop().create_connection(Channel, sock=ours)
    try:
        with theirs:
            yield channel, theirs
    finally:
        channel.end("closed")


async def play(pieces: list[bytes]) -> None:
    """Feed what a runner could send to a channel in use; every call on it ends, one way or another."""
    loop_errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: loop_errors.append(context))
    async with connected() as (channel, _):
        accepted: list[Stream] = []
        channel.on_open = lambda stream, call: accepted.append(stream)
        calls = [asyncio.create_task(channel.call({"do": "exec"})) for _ in range(2)]
        await asyncio.sleep(0)
        for piece in (HELLO, *pieces):
            channel.data_received(piece)
        channel.connection_lost(None)
        async with asyncio.timeout(10):
            for outcome in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(outcome, tuple | ChannelLost | OSError | KeyError), outcome
            for stream in accepted:
                try:
                    while await stream.receive():
                        pass
                except (ChannelLost, OSError, KeyError):
                    continue
    assert loop_errors == []


@settings(max_examples=300, deadline=None)
@given(PIECES)
def test_no_bytes_crash_or_hang_the_host(pieces: list[bytes]) -> None:
    asyncio.run(play(pieces))


@settings(max_examples=200, deadline=None)
@given(st.lists(LIKELY, max_size=8), st.lists(st.integers(1, 50), max_size=60))
def test_frames_are_the_same_however_the_bytes_are_cut(frames: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frames)
    whole, parts, at = Frames(), Frames(), 0
    found: list[tuple[int, int, bytes]] = []
    for cut in (*cuts, len(data)):
        found += parts.feed(data[at : at + cut])
        at += cut
    assert found == list(whole.feed(data))
    assert b"".join(frame(*one) for one in found) == data


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (HEADER.pack(MAX_ANSWER + 1, DATA, 1), "a frame of"),
        (HEADER.pack(0xFFFFFFFF, DATA, 1), "a frame of"),
        (frame(DATA, 1, bytes(1 << 16)) * (WINDOW // (1 << 16) + 1), "more data than its window allows"),
        (frame(LIVE, 1, bytes(1 << 16)) * 64 + frame(ERR, 1, bytes(1 << 16)) * 64, "more data than"),
        (frame(CREDIT, 1, NUMBER.pack(0xFFFFFFFF)), "credit for more than was sent"),
        (frame(CREDIT, 1, b"xx"), "unpack requires"),
        (frame(99, 1), "unknown kind 99"),
        (frame(CANCEL, 1), "unknown kind"),
        (frame(DONE, 1, b"[" * 100_000), "too many levels"),
        (frame(DONE, 1, b"3"), "no object"),
        (frame(FAIL, 1, b'{"errno": "x"}'), "without a number"),
        (frame(OPEN, 2, b"[]"), "no object"),
    ],
)
async def test_who_breaks_the_protocol_ends_the_channel_and_every_call_on_it(sent: bytes, why: str) -> None:
    async with connected() as (channel, _):
        channel.on_open = lambda stream, call: None
        stream = channel.open({"do": "connect"})
        stream.on_live = lambda data: None
        reading = asyncio.create_task(stream.receive())  # a reader that has stopped after its first bytes
        await asyncio.sleep(0)
        channel.data_received(HELLO + sent)
        assert why in channel.lost.result()
        with pytest.raises(ChannelLost):
            await channel.call({"do": "exec"})
        await asyncio.gather(reading, return_exceptions=True)


async def test_streams_without_end_are_turned_away() -> None:
    async with connected() as (channel, theirs):
        opened: list[Stream] = []
        channel.on_open = lambda stream, call: opened.append(stream)
        channel.data_received(HELLO)
        for number in range(2, 2 * 5000, 2):
            channel.data_received(frame(OPEN, number, b"{}"))
        assert len(opened) == MOST_STREAMS
        channel.data_received(frame(DONE, 2, b"{}") + frame(OPEN, 20_002, b"{}"))
        assert len(opened) == MOST_STREAMS + 1  # one that ended makes room
        refused = [kind for kind, _, _ in Frames().feed(theirs.recv(1 << 20))]
        assert set(refused) == {CANCEL}


async def test_a_runner_that_never_reads_costs_no_memory() -> None:
    """It sends without end and lets what it is sent lie."""
    async with connected() as (channel, _):
        channel.on_open = lambda stream, call: None
        channel.data_received(HELLO)
        stream = channel.open({"do": "connect"})
        gc.collect()
        tracemalloc.start()
        try:
            for number in range(20_000):
                channel.data_received(frame(DATA, 1, bytes(1000)) + frame(OPEN, 2 * number + 2, b"{}"))
                await stream.receive()
            assert tracemalloc.get_traced_memory()[0] < 8 << 20
        finally:
            tracemalloc.stop()
        assert not channel.lost.done()


async def test_a_runner_that_stops_reading_does_not_pile_up_what_it_is_sent() -> None:
    async with connected() as (channel, _):
        channel.data_received(HELLO)
        sending = [asyncio.create_task(channel.call({"do": "write"}, bytes(WINDOW))) for _ in range(100)]
        async with asyncio.timeout(20):
            outcomes = await asyncio.gather(*sending, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ChannelLost}
        assert "does not read" in channel.lost.result()


def test_a_reader_without_bounds_takes_it_all() -> None:
    """What the bounds are for: frames as large as the header can say, kept until they are whole."""
    careless = Frames(most=0xFFFFFFFF)
    for _ in range(100):
        assert list(careless.feed(HEADER.pack(0xFFFFFFFF, DATA, 1) if _ == 0 else bytes(1 << 16))) == []
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames(MAX_ANSWER).feed(HEADER.pack(0xFFFFFFFF, DATA, 1)))
