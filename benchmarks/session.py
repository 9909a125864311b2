"""A session of 20 turns with one call each (10 Bash, 5 Read, 5 Edit), beside the time the server itself takes."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from urllib.parse import urlsplit

from dockwright.config import ModelSettings
from dockwright.journal import Journal
from dockwright.model import Model
from dockwright.sandbox import Sandbox
from dockwright.session import Session
from dockwright.testing.scripted_api import Request, ScriptedApi, Turn, tool_use
from dockwright.tools import TOOLS
from dockwright.tools.base import ToolContext

PATH = "/workspace/app.py"


def script(path: str = PATH) -> list[Turn | str]:
    turns: list[Turn | str] = []
    for number in range(5):
        edit = {"file_path": path, "old_string": f"line {number}\n", "new_string": f"new {number}\n"}
        calls = [
            ("Bash", {"command": "true"}),
            ("Read", {"file_path": path}),
            ("Bash", {"command": "true"}),
            ("Edit", edit),
        ]
        turns += [Turn([tool_use(name, given)]) for name, given in calls]
    return [*turns, "Done."]


async def session_cost(sandbox: Sandbox, folder: Path) -> None:
    async with ScriptedApi(script()) as api:
        settings = ModelSettings(base_url=api.url, name="claude-sonnet-5-5")
        walls = []
        for number in range(4):
            await sandbox.write(PATH, b"".join(b"line %d\n" % n for n in range(200)))
            with Journal(folder / f"{number}.jsonl") as journal:
                async with Model(settings) as model:
                    session = Session(model, TOOLS, ToolContext(sandbox=sandbox), journal, system=())
                    await model.warm()
                    began = time.perf_counter()
                    await session.ask("Go.")
                    walls.append(time.perf_counter() - began)
        requests = list(api.requests[-21:])
        began = time.perf_counter()
        for request in requests:
            await post(api.url, request)
        floor = time.perf_counter() - began
    wall = min(walls[1:])
    per_turn = (wall - floor) / 21 * 1000
    print(f"\n{'session of 20 calls':<34} {wall * 1000:9.0f} ms, the server alone {floor * 1000:.0f} ms")
    print(f"{'harness per turn, tools included':<34} {per_turn:9.2f} ms")


async def post(url: str, request: Request) -> None:
    """The bare request, to the end of the stream."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    body = json.dumps(request.body).encode()
    head = f"POST {request.path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    kept = {
        name: value for name, value in request.headers.items() if name in ("authorization", "x-api-key", "content-type")
    }
    writer.write((head + "".join(f"{name}: {value}\r\n" for name, value in kept.items()) + "\r\n").encode() + body)
    writer.write_eof()
    await reader.read()
    writer.close()
