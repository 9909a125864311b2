"""Many tunnels over the one stream: each has a window of its own, so whoever stops reading stops nobody else."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest
from benchmarks.tunnel import SERVER

from dockwright.sandbox import Sandbox

PORT = 7801
SIZE = 1 << 21


@pytest.fixture
async def serving(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    job = await sandbox.spawn([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", SERVER, str(PORT)])
    while not (await sandbox.poll(job.id)).output:
        await asyncio.sleep(0.05)
    yield sandbox
    await sandbox.kill(job.id)


async def download(sandbox: Sandbox, pause: float) -> int:
    stream = await sandbox.connect(PORT)
    await stream.send(b"%d" % SIZE)
    got = 0
    while data := await stream.receive():
        got += len(data)
        await asyncio.sleep(pause)
    stream.send_end()
    return got


async def test_fifty_downloads_of_mixed_speed_hold_up_neither_each_other_nor_a_command(serving: Sandbox) -> None:
    stopped = [await serving.connect(PORT) for _ in range(10)]
    for stream in stopped:
        await stream.send(b"%d" % (1 << 26))  # more than any window
        await stream.receive()  # and then no more
    slow = [asyncio.create_task(download(serving, 0.05)) for _ in range(10)]
    async with asyncio.timeout(60):
        got, done = await asyncio.gather(
            asyncio.gather(*(download(serving, 0) for _ in range(30))), serving.exec(["echo", "still here"])
        )
        assert (got, done.stdout) == ([SIZE] * 30, b"still here\n")
        assert await asyncio.gather(*slow) == [SIZE] * 10
    for stream in stopped:
        assert not stream.done.done()
        stream.cancel()
    async with asyncio.timeout(20):
        await asyncio.wait([stream.done for stream in stopped])


async def test_what_is_sent_into_a_tunnel_arrives_whole(serving: Sandbox) -> None:
    code = (
        "import socket, hashlib\n"
        "s = socket.create_server(('127.0.0.1', 7802)); print('up', flush=True); c = s.accept()[0]\n"
        "h = hashlib.sha256()\n"
        "while d := c.recv(65536): h.update(d)\n"
        "c.sendall(h.hexdigest().encode())"
    )
    job = await serving.spawn(["python3", "-c", code])
    while not (await serving.poll(job.id)).output:
        await asyncio.sleep(0.05)
    data = hashlib.shake_128(b"x").digest(5_000_000)
    stream = await serving.connect(7802)
    await stream.send(data)
    stream.send_end()
    assert await stream.receive() == hashlib.sha256(data).hexdigest().encode()
