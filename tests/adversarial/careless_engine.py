"""An engine that does not do as it is told: a relay before the real one that opens a hole in each sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Hole = Callable[[dict[str, Any]], None]  # changes the body of a request to make a container


@asynccontextmanager
async def careless_engine(folder: Path, hole: Hole) -> AsyncIterator[str]:
    """What DOCKER_HOST has to be for it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, engine = await asyncio.open_unix_connection("/var/run/docker.sock")
        back = asyncio.create_task(_copy(answers, writer))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(65536):
                if re.match(rb"POST \S*/containers/create", data):
                    data = await _with_hole(data, reader, hole)
                engine.write(data)
                await engine.drain()
        engine.write_eof()
        await back
        engine.close()

    path = folder / "engine.sock"
    async with await asyncio.start_unix_server(serve, path):
        yield f"unix://{path}"


async def _with_hole(data: bytes, reader: asyncio.StreamReader, hole: Hole) -> bytes:
    while b"\r\n\r\n" not in data:
        data += await reader.read(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    assert found is not None
    body += await reader.readexactly(int(found[1]) - len(body))
    wanted = json.loads(body)
    if wanted["HostConfig"].get("NetworkMode") == "none":  # a sandbox
        hole(wanted)
    body = json.dumps(wanted).encode()
    return re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(body), head) + b"\r\n\r\n" + body


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
