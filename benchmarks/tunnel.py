"""A tunnel into the sandbox against a plain TCP connection on loopback: one server program, the same bytes."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from dockwright.sandbox import Sandbox

BYTES, ROUNDS, PORT = 1 << 27, 7, 7777
SERVER = """
import socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print(listener.getsockname()[1], flush=True)
def serve(connection):
    left, chunk = int(connection.recv(64)), bytes(1 << 18)
    while left > 0:
        connection.sendall(chunk[:left])
        left -= len(chunk)
    connection.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""


async def tunnel(sandbox: Sandbox) -> float:
    """Seconds for BYTES through the channel."""
    stream = await sandbox.connect(PORT)
    began = time.perf_counter()
    await stream.send(b"%d" % BYTES)
    got = 0
    while data := await stream.receive():
        got += len(data)
    stream.send_end()
    assert got == BYTES
    return time.perf_counter() - began


async def plain(port: int) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()
    writer.write(b"%d" % BYTES)
    got = 0
    while data := await reader.read(1 << 18):
        got += len(data)
    writer.close()
    assert got == BYTES
    return time.perf_counter() - began


async def tunnels(sandbox: Sandbox) -> None:
    job = await sandbox.spawn([f"{sandbox.runtime}/bin/python3", "-I", "-S", "-c", SERVER, str(PORT)])
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", SERVER, "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        while not (await sandbox.poll(job.id)).output:  # noqa: ASYNC110 - the sandbox is asked, and has no events
            await asyncio.sleep(0.05)
        times = [(await tunnel(sandbox), await plain(port)) for _ in range(ROUNDS)]
    finally:
        server.kill()
        await server.wait()
        await sandbox.kill(job.id)
    ours, theirs = (BYTES / statistics.median(side) / 1e6 for side in zip(*times, strict=True))
    print(f"\n{'':<34} {'ours':>12} {'loopback TCP':>12}")
    both = f"{ours:7.0f} MB/s {theirs:7.0f} MB/s"
    print(f"{'tunnel, ' + sandbox.place.backend:<34} {both}   ratio 1/{theirs / ours:<7.1f} (aim 150 MB/s)")
